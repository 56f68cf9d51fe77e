"""Configs in converters of users."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import attrs
import cattrs
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, UnknownTypeError
from dacapo.experiments.datasplits.datasets import DatasetConfig, RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import (
    ArrayConfig,
    BinarizeArrayConfig,
    CropArrayConfig,
    ZarrArrayConfig,
)
from dacapo.store.conversion_hooks import cls_fun, register_hierarchy_hooks, register_hooks
from dacapo.store.converter import from_plain, to_plain

ZARR = ZarrArrayConfig("z", Path("a.zarr"), "raw", snap_to_grid=Coordinate(8, 4, 4))
CONFIGS = [
    ZARR,
    CropArrayConfig("c", ZARR, Roi((0, 0, 0), (80, 40, 40))),
    RawGTDatasetConfig("d", raw_config=ZARR, sample_points=[Coordinate(1, 2, 3)]),
    BinarizeArrayConfig("b", ZARR, [("mito", [1, 2])]),
]


class Color(Enum):
    RED = "red"


@attrs.define
class Experiment:
    """A class of a user that holds configs."""

    array: ArrayConfig
    datasets: list[DatasetConfig]
    region: Roi
    voxel_size: Coordinate
    folder: Path
    color: Color


@pytest.fixture(params=[cattrs.Converter, cattrs.GenConverter])
def converter(request: pytest.FixtureRequest) -> cattrs.Converter:
    made: cattrs.Converter = request.param()
    register_hooks(made)
    return made


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_configs_are_written_and_read_as_everywhere(converter: cattrs.Converter, config: ArrayConfig) -> None:
    plain = converter.unstructure(config)
    assert plain == to_plain(config)
    base = DatasetConfig if isinstance(config, DatasetConfig) else ArrayConfig
    assert converter.structure(plain, base) == from_plain(plain, base) == config
    assert converter.structure(plain, type(config)) == config


def test_a_class_that_holds_configs(converter: cattrs.Converter) -> None:
    value = Experiment(ZARR, [CONFIGS[2]], Roi((0, 8), (16, 8)), Coordinate(8, 4), Path("here"), Color.RED)
    plain = converter.unstructure(value)
    assert plain["array"]["__type__"] == "ZarrArrayConfig"
    assert plain["datasets"][0]["raw_config"]["snap_to_grid"] == [8, 4, 4]
    assert (plain["region"], plain["voxel_size"], plain["folder"]) == ([[0, 8], [16, 8]], [8, 4], "here")
    assert converter.structure(plain, Experiment) == value


def test_reading_is_as_strict_as_everywhere(converter: cattrs.Converter) -> None:
    with pytest.raises(cattrs.ClassValidationError):
        converter.structure({**to_plain(ZARR), "datset": "raw"}, ArrayConfig)
    with pytest.raises(UnknownTypeError):
        converter.structure({**to_plain(ZARR), "__type__": "DatasetConfig"}, ArrayConfig)
    with pytest.raises(TypeError, match="whole numbers"):
        converter.structure([1.5], Coordinate)


def test_the_hooks_of_hierarchies_alone() -> None:
    converter = cattrs.Converter()
    register_hierarchy_hooks(converter)
    assert converter.structure(converter.unstructure(CONFIGS[1]), ArrayConfig) == CONFIGS[1]


def test_the_function_of_a_base_is_a_hook() -> None:
    converter = cattrs.Converter()
    converter.register_structure_hook(ArrayConfig, cls_fun(ArrayConfig))
    assert converter.structure(to_plain(CONFIGS[1]), ArrayConfig) == CONFIGS[1]
    with pytest.raises(UnknownTypeError):
        cls_fun(DatasetConfig)(to_plain(ZARR), DatasetConfig)


def test_the_function_of_a_name_is_the_class() -> None:
    assert cls_fun("ZarrArrayConfig") is ZarrArrayConfig
    with pytest.raises(UnknownTypeError, match="NoConfig"):
        cls_fun("NoConfig")
    with pytest.raises(ConfigError, match="Roi"):
        cls_fun(Roi)
