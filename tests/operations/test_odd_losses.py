"""Networks that lose an odd number of voxels train, validate, predict and apply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate

from dacapo.apply import apply
from dacapo.experiments.architectures import ArchitectureConfig, WrappedArchitectureConfig
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.run import Run
from dacapo.experiments.trainers.regions import sample_regions
from dacapo.options import DaCapoConfig
from dacapo.predict import predict
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.train import train
from dacapo.utils.quantize import quantize
from dacapo.validate import validate
from tests.helpers.networks import PlainConfig
from tests.helpers.runs import affinities_run_config, unet_config
from tests.helpers.volumes import cells, write_array

OFFSET = Coordinate(40, 40)


CONVOLUTION = {"in_channels": 1, "out_channels": 3, "kernel_size": 4}
# The network, the extent of volumes in voxels, and how much finer labels are.
CASES: dict[str, tuple[ArchitectureConfig, int, int]] = {
    "factors of 3, twice": (
        unet_config(2, input_shape=Coordinate(88, 88), downsample_factors=[Coordinate(3, 3)] * 2, fmap_inc_factor=1),
        101,
        1,
    ),
    "factors of 3, padded": (
        unet_config(2, input_shape=Coordinate(99, 99), downsample_factors=[Coordinate(3, 3)], padding="same"),
        201,
        1,
    ),
    "factors of 3, padded, small kernels": (
        unet_config(
            2,
            input_shape=Coordinate(60, 60),
            downsample_factors=[Coordinate(3, 3)],
            kernel_size_up=[[Coordinate(3, 3)]],
            padding="same",
        ),
        201,
        1,
    ),
    "wrapped convolution": (
        WrappedArchitectureConfig("conv", "torch.nn:Conv2d", Coordinate(24, 24), 1, arguments=CONVOLUTION),
        41,
        1,
    ),
    "own convolution": (PlainConfig("own", kernel=(4, 4), shape=(24, 24)), 40, 1),
    "enlarged by 2": (unet_config(2, upsample_factors=[Coordinate(2, 2)]), 41, 2),
    "enlarged by 3": (unet_config(2, upsample_factors=[Coordinate(3, 3)]), 40, 3),
}


def write_volume(path: Path, extent: int, finer: int, seed: int) -> None:
    raw, labels = cells((extent, extent), seed)
    fine = labels.repeat(finer, 0).repeat(finer, 1)
    write_array(path, "raw", raw, Coordinate(6, 6), OFFSET)
    write_array(path, "labels", fine, Coordinate(6 // finer, 6 // finer), OFFSET)


@pytest.mark.parametrize("case", CASES)
def test_from_training_to_a_segmentation(options: DaCapoConfig, tmp_path: Path, case: str) -> None:
    architecture, extent, finer = CASES[case]
    for seed, part in enumerate(("train", "validate", "new")):
        write_volume(tmp_path / f"{part}.zarr", extent, finer, seed)
    config = affinities_run_config(
        tmp_path, dims=2, architecture_config=architecture, num_iterations=2, validation_interval=2
    )
    assert config.verify()[0], config.verify()[1]
    assert architecture.verify()[0]
    create_config_store().store_run_config(config)

    run = train(config.name)
    assert run.validation_scores.validated_until() > 0
    validate(config.name, 2)
    written = predict(config.name, 2, tmp_path / "new.zarr", "raw", tmp_path / "predicted.zarr")
    applied = apply(config.name, tmp_path / "new.zarr", "raw", tmp_path / "applied.zarr", "validate")

    prediction = ZarrArray.open_from_array_identifier(written)
    segmentation = ZarrArray.open_from_array_identifier(applied.output)
    raw = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(tmp_path / "new.zarr", "raw"))
    assert prediction.roi == segmentation.roi == raw.roi
    assert prediction.voxel_size == raw.voxel_size / finer
    assert_equal_to_a_training_sample(config.name, raw, prediction)


def assert_equal_to_a_training_sample(name: str, raw: Any, prediction: Any) -> None:
    """Compare with what the network gives for an input as in training, at the place of that input's target.

    Networks that pad are compared only where zeros do not reach.
    """
    run = Run(create_config_store().retrieve_run_config(name))
    create_weights_store().load_weights(run, 2)
    regions = sample_regions(run.model, raw.voxel_size)
    shift = raw.roi.offset + run.model.architecture.stride * raw.voxel_size
    values = run.trainer.prepare_input(raw[regions.raw_roi + shift] / np.float32(255))
    with torch.inference_mode():
        output = run.model.eval()(torch.from_numpy(values[None, None].astype(np.float32)))[0].numpy()
    margin = Coordinate(0, 0)
    if any(run.model.padded_axes):
        margin = run.model.receptive_halo * raw.voxel_size / prediction.voxel_size
    target = (regions.target_roi + shift).grow(-margin * prediction.voxel_size, -margin * prediction.voxel_size)
    inner = tuple(slice(m, s - m) for m, s in zip(margin, output.shape[1:], strict=True))
    expected = quantize(output[(slice(None), *inner)], (0.0, 1.0), np.uint8)
    assert expected.size > 0
    np.testing.assert_allclose(prediction[target].astype(int), expected.astype(int), atol=1)
