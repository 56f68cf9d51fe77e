"""Prediction and post-processing of volumes on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mwatershed
import numpy as np
import torch
import zarr
from funlib.geometry import Coordinate
from scipy.ndimage import gaussian_filter

from dacapo.compute_context import Execution
from dacapo.experiments.datasplits.datasets.arrays import IntensitiesArray, IntensitiesArrayConfig, ZarrArrayConfig
from dacapo.experiments.run import Run
from dacapo.experiments.tasks.post_processors import (
    ArgmaxPostProcessor,
    ArgmaxPostProcessorParameters,
    ThresholdPostProcessor,
    ThresholdPostProcessorParameters,
)
from dacapo.inference.budget import plan_within
from dacapo.inference.prediction import predict_array
from dacapo.options import Options
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.quantize import dequantize, quantize
from dacapo.utils.segmentation import MutexWatershedParameters, mutex_watersheds
from dacapo.utils.voi import voi

from .arrays import on_disk
from .batches import AFFINITIES, make_run
from .data import DIRECT, LONG_RANGE, VOXEL_SIZE, blobs, cells, image
from .floors import Values, affinities, boxes, create_like, read_with_context
from .harness import Case, Setting
from .targets import equal


def raw_on_disk(folder: Path, values: Values) -> tuple[LocalArrayIdentifier, IntensitiesArray]:
    """Write an image; return where it is, and what reads it from there, scaled to 0..1."""
    place = on_disk(folder, "raw", values)
    stored = ZarrArrayConfig(name="raw", file_name=place.container, dataset=place.dataset)
    return place, IntensitiesArray(IntensitiesArrayConfig("scaled", source_array_config=stored, min=0.0, max=255.0))


def predicted(run: Run, image: Any, block: tuple[slice, ...]) -> Values:
    """Return what a run's network, applied directly, predicts in a block of an image that is not scaled."""
    context = int(run.model.input_shape[0] - run.model.output_shape[0]) // 2
    values = read_with_context(image, block, context).astype(np.float32) / 255
    run.model.eval()
    with torch.inference_mode():
        return np.asarray(run.model(torch.from_numpy(values)[None, None])[0].numpy())


def in_levels(values: Values) -> Values:
    return np.rint(values * 255).astype(np.uint8)


def same_levels(got: Values, expected: Values, apart: int = 1) -> None:
    """Compare quantized values: those that lie between two levels may be rounded to either."""
    np.testing.assert_allclose(got.astype(int), expected.astype(int), atol=apart)


# Largest mean and largest difference from single precision; 8 bits of precision are 1 in 256.
ERRORS = {"float32": (1e-6, 1e-5), "bfloat16": (1e-3, 8e-3)}


def prediction(setting: Setting, precision: str = "float32") -> Case:
    Options.instance(compute_context={"type": "LocalTorch", "config": {"_device": "cpu"}})
    setting.stack.callback(Options.reset)
    run = make_run(AFFINITIES, [], setting.size(80, 28))
    values = image(cells(setting.size(128, 32)))
    place, raw = raw_on_disk(setting.folder, values)
    output = LocalArrayIdentifier(place.container, "prediction")
    block = tuple(plan_within(run.model, raw).plan.write_shape / VOXEL_SIZE)
    predict_array(run, raw, output, Execution(precision=precision))
    ours_on_disk = zarr.open(str(place.container), mode="r")["prediction"]

    def ours() -> Values:
        predict_array(run, raw, output, Execution(precision=precision))
        return zarr.open(str(place.container), mode="r")["prediction"][:]

    def floor() -> Values:
        source = zarr.open(str(place.container), mode="r")["raw"]
        shape = (run.model.num_out_channels, *source.shape)
        target = create_like("prediction", ours_on_disk, shape, np.uint8, setting.folder)
        for box in boxes(source.shape, block):
            target[(slice(None), *box)] = in_levels(predicted(run, source, box))
        return target[:]

    def check(got: Values, expected: Values) -> None:
        same_levels(got, expected, 1 if precision == "float32" else 2)
        floats = LocalArrayIdentifier(place.container, "floats")
        exact = predict_array(run, raw, floats, Execution(precision=precision), output_dtype=np.float32)
        (whole,) = boxes(values.shape, values.shape)
        errors = np.abs(exact[exact.roi] - predicted(run, values, whole))
        np.testing.assert_array_less((errors.mean(), errors.max()), ERRORS[precision])

    return Case(ours, floor, check, "1.05" if precision == "float32" else "")


def large_blocks(setting: Setting) -> Case:
    """Predict with a network of much context, beside the same in the blocks that the network is trained on.

    Both are ours, so both are compared with the network applied directly to all of the volume.
    """
    Options.instance(compute_context={"type": "LocalTorch", "config": {"_device": "cpu"}})
    setting.stack.callback(Options.reset)
    run = make_run(AFFINITIES, [], setting.size(84, 52), features=4, steps=2)
    values = image(cells(setting.size(120, 56)))
    place, raw = raw_on_disk(setting.folder, values)
    output = LocalArrayIdentifier(place.container, "prediction")

    def predict_in(block_shape: Coordinate | None) -> Values:
        predict_array(run, raw, output, block_shape=block_shape)
        return zarr.open(str(place.container), mode="r")["prediction"][:]

    def check(got: Values, expected: Values) -> None:
        (whole,) = boxes(values.shape, values.shape)
        direct = in_levels(predicted(run, values, whole))
        same_levels(got, direct)
        same_levels(expected, direct)

    small = run.model.output_shape * VOXEL_SIZE
    return Case(lambda: predict_in(None), lambda: predict_in(small), check, "")


def threshold(setting: Setting) -> Case:
    size, chunk = setting.size(256, 64), setting.size(128, 32)
    values = (1 / (1 + np.exp(-blobs(size))) * 255).astype(np.uint8)
    attributes = {"value_range": [0.0, 1.0]}
    place = on_disk(setting.folder, "prediction", values, chunk, attributes)
    output = LocalArrayIdentifier(place.container, "mask")
    processor = ThresholdPostProcessor()
    processor.set_prediction(place)
    parameters = ThresholdPostProcessorParameters(id=0, threshold=127)
    return _blockwise(
        setting,
        lambda: processor.process(parameters, output, num_workers=1, block_size=Coordinate((chunk,) * 3)),
        lambda block: (block > 127).astype(np.uint8),
        output,
        chunk,
        "1.2",
    )


def argmax(setting: Setting) -> Case:
    size, chunk = setting.size(128, 32), setting.size(64, 16)
    channels = np.stack([blobs(size, seed) for seed in range(4)])
    place = on_disk(setting.folder, "prediction", (channels * 40 + 127).clip(0, 255).astype(np.uint8), chunk)
    output = LocalArrayIdentifier(place.container, "classes")
    processor = ArgmaxPostProcessor()
    processor.set_prediction(place)
    parameters = ArgmaxPostProcessorParameters(id=0)
    return _blockwise(
        setting,
        lambda: processor.process(parameters, output, num_workers=1, block_size=Coordinate((chunk,) * 3)),
        lambda block: np.argmax(block, axis=0).astype(np.uint8),
        output,
        chunk,
        "1.1",
    )


def _blockwise(
    setting: Setting,
    ours: Callable[[], Any],
    function: Callable[[Values], Values],
    output: LocalArrayIdentifier,
    block: int,
    goal: str,
) -> Case:
    ours()
    ours_on_disk = zarr.open(str(output.container), mode="r")[output.dataset]

    def floor() -> Any:
        source = zarr.open(str(output.container), mode="r")["prediction"]
        target = create_like(output.dataset, ours_on_disk, ours_on_disk.shape, np.uint8, setting.folder)
        for box in boxes(target.shape, (block,) * 3):
            target[box] = function(source[(..., *box)])
        return target

    return Case(ours, floor, lambda got, want: equal(got[got.roi], want[:]), goal)


def watershed(setting: Setting, biases: tuple[float, ...], goal: str, stored: bool = False) -> Case:
    """Segment noisy affinities; the floor is one call of the package that does it, of a single bias.

    Affinities are in single precision, or stored in 8 bits, as validation has them.
    """
    offsets = DIRECT + LONG_RANGE
    clean = affinities(cells(setting.size(80, 32)), offsets)
    noise = np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    blurred = gaussian_filter(clean, (0, 1, 1, 1)) + 0.05 * noise
    values = blurred.clip(0, 1).astype(np.float32)
    given, value_range = (quantize(values, (0, 1), np.uint8), (0.0, 1.0)) if stored else (values, None)
    parameters = [MutexWatershedParameters(bias) for bias in biases]

    def ours() -> Values:
        (first,) = [labels for k, labels in mutex_watersheds(given, offsets, parameters, value_range) if k == 0]
        return first

    def floor() -> Values:
        plain = dequantize(given, (0, 1)).astype(np.float64)
        return mwatershed.agglom(plain - biases[0], [list(offset) for offset in offsets])

    def check(labels: Values, expected: Values) -> None:
        # Where ours has background, the mean affinity was below the bias.
        np.testing.assert_array_less(0.9, (labels > 0).mean())
        # Of equal affinities, of which 8 bits have many, the floor takes any first.
        allowed = 0.2 if stored else 1e-12
        np.testing.assert_allclose(voi(expected[labels > 0], labels[labels > 0]), 0, atol=allowed)

    return Case(ours, floor, check, goal)


FIVE = (0.5, 0.1, 0.25, 0.75, 0.9)

CASES: dict[str, Callable[[Setting], Case]] = {
    "blockwise prediction, 128^3": prediction,
    "blockwise prediction, bfloat16, 128^3": partial(prediction, precision="bfloat16"),
    "prediction in default blocks, 120^3": large_blocks,
    "threshold, 256^3": threshold,
    "argmax of 4 channels, 128^3": argmax,
    "mutex watershed, 80^3": partial(watershed, biases=(0.5,), goal="1.1"),
    "mutex watershed, five biases, 80^3": partial(watershed, biases=FIVE, goal="2"),
    "mutex watershed, uint8, 80^3": partial(watershed, biases=(0.5,), goal="1.1", stored=True),
    "mutex watershed, uint8, five biases, 80^3": partial(watershed, biases=FIVE, goal="2", stored=True),
}
