"""Decisions for a run follow from its data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, InputTooSmallError, MemoryBudgetError
from dacapo.experiments.architectures import CNNectomeUNet
from dacapo.experiments.datasplits import DataSplitGenerator, TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasplit_generator import DatasetSpec
from dacapo.experiments.defaults import (
    Facts,
    default_network,
    default_run_config,
    facts_of,
    held_out,
    instance_task,
    intensity_range,
)
from dacapo.experiments.defaults.network import INPUT_SIZES
from tests.helpers.datasets import array
from tests.helpers.runs import dataset_config
from tests.helpers.volumes import cells, write_array


def cube(size: int, voxel_size: tuple[int, ...] = (8, 8, 8)) -> Facts:
    return Facts(Coordinate(voxel_size), Coordinate((size,) * len(voxel_size)))


def test_the_neighborhood_follows_from_the_anisotropy() -> None:
    assert instance_task(cube(60)).neighborhood[:3] == [Coordinate(1, 0, 0), Coordinate(0, 1, 0), Coordinate(0, 0, 1)]
    offsets = [tuple(offset) for offset in instance_task(cube(60, (40, 8, 8))).neighborhood]
    assert {offset[0] for offset in offsets} == {0, 1, 2}
    assert (0, 9, 0) in offsets


def test_the_network_fits_into_data_and_memory() -> None:
    largest = default_network(cube(500))
    assert tuple(largest.input_shape) == (58, 58, 58)
    assert tuple(default_network(cube(500, (40, 8, 8))).input_shape) == (28, 58, 58)
    assert tuple(default_network(cube(40)).input_shape) == (40, 40, 40)
    assert default_network(cube(500), on_gpu=True).input_shape > largest.input_shape
    less = default_network(cube(500), memory=60 * 2**20)
    assert INPUT_SIZES[True][0] < less.input_shape[0] < 58
    CNNectomeUNet(less)
    with pytest.raises(MemoryBudgetError, match=r"training takes at least .* 1.0 MB may be used"):
        default_network(cube(500), memory=2**20)
    with pytest.raises(InputTooSmallError, match="too small"):
        default_network(cube(20))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_part_of_the_labels_is_held_out(dims: int) -> None:
    voxel_size = Coordinate((4,) * dims)
    raw = Roi((0,) * dims, (400,) * dims)
    labels = Roi((40,) * dims, (*(80,) * (dims - 1), 200))
    train, validate = held_out(raw, labels, voxel_size, 0.2)
    assert train == Roi((0,) * dims, (*(400,) * (dims - 1), 200))  # raw data until the held-out labels
    assert validate.begin[-1] == 200
    assert validate.end[-1] == 240
    for share in (0, 1, 0.999):
        with pytest.raises(ConfigError, match="share"):
            held_out(raw, labels, voxel_size, share)


def test_intensities_are_those_of_most_voxels() -> None:
    raw = array(np.arange(10000, dtype=np.float32).reshape(100, 100))
    low, high = intensity_range(raw, raw.roi)
    assert (low, high) == pytest.approx((50, 9949), abs=1)
    assert intensity_range(array(np.zeros((9, 9), np.uint8)), Roi((0, 0), (36, 36))) == (0, 255)
    with pytest.raises(ConfigError, match="constant"):
        intensity_range(array(np.zeros((9, 9), np.float32)), Roi((0, 0), (36, 36)))


def test_a_generated_data_split_gets_a_whole_run(tmp_path: Path) -> None:
    for seed, part in enumerate(("train", "val")):
        raw, labels = cells((40, 40, 40), seed)
        for name, values in (("raw", raw), ("labels", labels)):
            write_array(tmp_path / f"{part}.zarr", name, values, Coordinate(16, 8, 8), Coordinate(0, 0, 0))
    rows = [
        DatasetSpec(part, tmp_path / f"{part}.zarr", "raw", tmp_path / f"{part}.zarr", "labels")
        for part in ("train", "val")
    ]
    split = DataSplitGenerator("split", rows, (16, 8, 8), (16, 8, 8), segmentation_type="instance").compute()
    config = default_run_config(split, "generated", num_iterations=10, seed=3, max_memory="2GB")
    assert config.verify()[0]
    assert config.datasplit_config is split
    assert config.validation_interval == 3
    assert config.trainer_config.seed == 3
    assert config.trainer_config.decay_iterations == 10  # type: ignore[attr-defined]
    assert {offset[0] for offset in config.task_config.neighborhood} == {0, 1, 2}  # type: ignore[attr-defined]


def test_data_that_no_network_suits_is_an_error(tmp_path: Path) -> None:
    for name, size in (("a", 8), ("b", 4)):
        raw, labels = cells((40, 40), 0)
        for dataset, values in (("raw", raw), ("labels", labels)):
            write_array(tmp_path / f"{name}.zarr", dataset, values, Coordinate(size, size), Coordinate(0, 0))
    both = [dataset_config(tmp_path / f"{name}.zarr", name) for name in ("a", "b")]
    with pytest.raises(ConfigError, match=r"no network suits all of them: \(8, 8\) .*: a; \(4, 4\) .*: b"):
        facts_of(TrainValidateDataSplitConfig("split", both, []))
    with pytest.raises(ConfigError, match="no datasets to train on"):
        facts_of(TrainValidateDataSplitConfig("split", [], []))
