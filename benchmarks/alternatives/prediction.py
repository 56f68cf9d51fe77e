"""A whole volume in memory, predicted with the same network, whose output is as large as its input.

The others add up overlapping windows, ours reads context around blocks, as large as memory allows. With zeros around a
volume, or around a window, predictions differ near its faces, so only the inside is compared.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import torch

from dacapo import Options, load_model
from dacapo.experiments.run import Run

from ..batches import AFFINITIES, make_run
from ..data import cells, image
from ..harness import Case, Setting
from .comparison import Comparison
from .limits import seconds_of_network

SAME = 0.02  # largest mean difference of predictions, which lie between 0 and 1


def network(window: int) -> Run:
    """Return a run with a U-Net whose output is as large as its input."""
    config = make_run(AFFINITIES, [], window).config
    return Run(attrs.evolve(config, architecture_config=attrs.evolve(config.architecture_config, padding="same")))


def by_monai(run: Run, window: int, overlap: float) -> Any:
    from monai.inferers import sliding_window_inference

    def predict(values: torch.Tensor) -> np.ndarray:
        found = sliding_window_inference(values[None], (window,) * 3, 1, run.model, overlap=overlap)
        return np.asarray(found[0])  # type: ignore[index]

    return predict


def by_nnunet(run: Run, window: int, step: float) -> Any:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    device = torch.device("cpu")
    predictor = nnUNetPredictor(
        step, use_mirroring=False, device=device, allow_tqdm=False, perform_everything_on_device=False
    )
    # Of the plans, prediction only reads how large windows are, and how many channels there are.
    predictor.network = run.model
    predictor.configuration_manager = SimpleNamespace(patch_size=[window] * 3)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=run.model.num_out_channels)
    predictor.allowed_mirroring_axes = None

    def predict(values: torch.Tensor) -> np.ndarray:
        return np.asarray(predictor.predict_sliding_window_return_logits(values).float())

    return predict


def prediction(setting: Setting, other: str, make: Any, overlap: float) -> Comparison:
    """Predict beside a predictor.

    Args:
        setting: How large.
        other: Name of the package.
        make: Takes the run, the window and its overlap or step; returns a function of the scaled volume.
        overlap: Overlap of windows as a part of them, or the step for nnU-Net.
    """
    Options.instance(compute_context={"type": "LocalTorch", "config": {"_device": "cpu"}})
    setting.stack.callback(Options.reset)
    window, size = setting.size(64, 32), setting.size(128, 48)
    run = network(window)
    run.model.eval()
    values = image(cells(size)).astype(np.float32) / 255
    model, theirs = load_model(run), make(run, window, overlap)
    tensor = torch.from_numpy(values)[None]

    def check(got: np.ndarray, expected: np.ndarray) -> None:
        with torch.inference_mode():
            whole = run.model(tensor[None])[0].numpy()
        inside = (slice(None), *(slice(12, -12),) * 3)
        np.testing.assert_equal(got.shape, expected.shape)
        for found in (got, expected):
            np.testing.assert_array_less(np.abs(found[inside] - whole[inside]).mean(), SAME)

    def work() -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = theirs(tensor)
        return found

    limit = lambda: seconds_of_network(run.model, (1, 1, *values.shape))  # noqa: E731
    return Comparison(
        "prediction, 128^3",
        other,
        Case(lambda: model.predict(values, voxel_size=run.datasplit.train[0].raw.voxel_size), work, check),
        limit,
    )


OTHERS = {
    "MONAI, overlap 1/4 (default)": (by_monai, 0.25),
    "MONAI, overlap 0": (by_monai, 0.0),
    "nnU-Net, step 1/2 (default)": (by_nnunet, 0.5),
    "nnU-Net, step 1": (by_nnunet, 1.0),
}
