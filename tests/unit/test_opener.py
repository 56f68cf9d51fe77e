"""One function opens whatever holds an array."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorstore
import tifffile
import zarr
from funlib.geometry import Coordinate, Roi

import dacapo
from dacapo.errors import ArrayNotFoundError, ConfigError
from dacapo.experiments.datasplits.datasets.arrays import (
    TiffArrayConfig,
    ZarrArrayConfig,
    config_for,
    open_array,
    open_identifier,
)
from dacapo.experiments.datasplits.datasets.arrays.opener import identifier_of
from tests.helpers.volumes import VOXEL_SIZE, write_array

VALUES = np.arange(4 * 6, dtype=np.uint8).reshape(4, 6)
SIZE, OFFSET = Coordinate(4, 2), Coordinate(8, 20)


@pytest.fixture
def container(tmp_path: Path) -> Path:
    """Return a Zarr container with the array volumes/raw."""
    write_array(tmp_path / "a.zarr", "volumes/raw", VALUES, SIZE, OFFSET)
    return tmp_path / "a.zarr"


def test_the_root_package_offers_it() -> None:
    assert dacapo.open_array is open_array


@pytest.mark.parametrize(
    ("path", "dataset"),
    [
        ("a.zarr", "volumes/raw"),
        ("a.zarr", "/volumes//raw/"),
        ("a.zarr/volumes/raw", None),
        ("a.zarr/volumes", "raw"),
        ("a.zarr", None),
    ],
)
def test_a_dataset_is_named_in_any_way(container: Path, path: str, dataset: str | None) -> None:
    array = open_array(str(container.parent / path), dataset)
    assert (array.voxel_size, array.roi) == (SIZE, Roi(OFFSET, (16, 12)))
    np.testing.assert_array_equal(array[array.roi], VALUES)
    assert not array.writable
    again = open_identifier(identifier_of(config_for(container.parent / path, dataset)))
    np.testing.assert_array_equal(again[again.roi], VALUES)


def test_a_path_may_begin_with_the_home_folder(container: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(container.parent))
    assert open_array("~/a.zarr/volumes/raw").roi == Roi(OFFSET, (16, 12))


def test_a_path_inside_is_that_of_the_outermost_container(tmp_path: Path) -> None:
    """Because multiscales anywhere above the array may tell its position."""
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.create_dataset("em/s0", data=VALUES)
    level = {"path": "em/s0", "coordinateTransformations": [{"type": "scale", "scale": [6, 3]}]}
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "yx"]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": [level]}]
    for path, dataset in (("a.zarr/em/s0", None), ("a.zarr", "em/s0"), ("a.zarr", None)):
        assert open_array(tmp_path / path, dataset).voxel_size == (6, 3)


def test_n5_is_recognized_by_its_content(tmp_path: Path) -> None:
    metadata = {"dimensions": [6, 4], "blockSize": [6, 4], "dataType": "uint8", "compression": {"type": "raw"}}
    kvstore = {"driver": "file", "path": f"{tmp_path / 'plain' / 'raw'}/"}
    spec = {"driver": "n5", "kvstore": kvstore, "metadata": metadata}
    tensorstore.open(spec, create=True).result()[...] = VALUES.T
    (tmp_path / "plain" / "attributes.json").write_text(json.dumps({"n5": "2.0.0"}))
    with pytest.warns(UserWarning, match="no voxel size"):
        array = open_array(tmp_path / "plain" / "raw", axes=["y", "x"])
    np.testing.assert_array_equal(array[array.roi], VALUES)


def test_a_folder_need_not_say_that_it_is_a_group(tmp_path: Path) -> None:
    write_array(tmp_path / "folder" / "b.zarr", "raw", VALUES, SIZE, OFFSET)
    array = open_array(tmp_path / "folder", "b.zarr/raw")
    np.testing.assert_array_equal(array[array.roi], VALUES)


def test_overrides_replace_the_metadata_of_the_file(container: Path) -> None:
    array = open_array(
        container, "volumes/raw", axes=["x", "y"], voxel_size=(3, 5), offset=(30, -10), snap_to_grid=None, name="mine"
    )
    assert (array.axes, array.voxel_size, array.roi) == (["x", "y"], (3, 5), Roi((30, -10), (12, 30)))
    assert array.name == "mine"


def test_a_tiff_is_recognized_whatever_its_name(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "slices.dat", VALUES)
    config = config_for(tmp_path / "slices.dat", axes=["y", "x"], voxel_size=SIZE, offset=OFFSET)
    assert isinstance(config, TiffArrayConfig)
    array = open_array(tmp_path / "slices.dat", axes=["y", "x"], voxel_size=SIZE, offset=OFFSET)
    np.testing.assert_array_equal(array[array.roi], VALUES)


def test_errors_name_what_there_is(container: Path) -> None:
    folder = container.parent
    write_array(container, "labels", VALUES, SIZE, OFFSET)
    with pytest.raises(ConfigError, match=r"several arrays: labels, volumes/raw; name the dataset"):
        open_array(container)
    with pytest.raises(ArrayNotFoundError, match=r"dataset 'em' does not exist in .*; it holds labels, volumes/raw"):
        open_array(container, "em")
    with pytest.raises(ArrayNotFoundError, match=rf"missing\.zarr does not exist.*; the folder {folder} does"):
        open_array(folder / "missing.zarr", "em")
    with pytest.raises(ArrayNotFoundError, match=r"missing\.tif does not exist; the folder"):
        open_array(folder / "deep" / "missing.tif")
    (folder / "notes.txt").write_text("no array")
    with pytest.raises(ConfigError, match=r"notes\.txt is a file of an unknown format; supported are Zarr, N5 or"):
        open_array(folder / "notes.txt")
    with pytest.raises(ConfigError, match=r"is a folder of an unknown format"):
        open_array(folder)
    with pytest.raises(ConfigError, match=r"color cannot be given for .*; known are .*voxel_size"):
        open_array(container, "labels", color="red")
    tifffile.imwrite(folder / "a.tif", VALUES)
    with pytest.raises(ConfigError, match="leave the dataset empty"):
        open_array(folder / "a.tif", "raw")
    zarr.open_group(str(folder / "empty.zarr"), mode="w")
    with pytest.raises(ArrayNotFoundError, match="holds no arrays"):
        open_array(folder / "empty.zarr")


def test_configs_of_the_opener_open_in_other_processes(container: Path) -> None:
    config = config_for(container, "volumes/raw")
    assert config == ZarrArrayConfig("a.zarr/volumes/raw", container, "volumes/raw", mode="r")


@pytest.mark.parametrize("name", ["raw.tif", "raw.h5", "raw.zarr"])
def test_a_unit_that_the_file_lacks(name: str, tmp_path: Path) -> None:
    data = np.zeros((2, 3, 4, 5), np.uint8)
    if name == "raw.tif":
        tifffile.imwrite(tmp_path / name, data)
    elif name == "raw.h5":
        with h5py.File(tmp_path / name, "w") as file:
            file["raw"] = data
    else:
        zarr.open_group(str(tmp_path / name), mode="w").create_dataset("raw", data=data)
    given = {"axes": ["t", "z", "y", "x"], "voxel_size": [1, 5, 4, 4], "offset": [0, 0, 0, 0]}
    array = open_array(tmp_path / name, **given)
    assert set(array.units) == {""}
    array = open_array(tmp_path / name, **given, unit="um")
    assert list(array.units) == ["", "um", "um", "um"]
    assert list(array.spacing) == [1, 5, 4, 4]


def test_a_unit_instead_of_that_of_the_file(tmp_path: Path) -> None:
    written = write_array(tmp_path / "raw.zarr", "raw", np.zeros((2, 3, 4), np.uint8))
    array = open_array(written.container, unit="um")
    assert list(array.units) == ["um"] * 3
    assert array.world.in_nanometers(array.voxel_size) == VOXEL_SIZE * 1000


def test_a_single_point_in_time_needs_no_choice(tmp_path: Path) -> None:
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.create_dataset("one", data=VALUES[None])
    group.create_dataset("two", data=np.stack([VALUES, VALUES]))
    given: dict[str, Any] = {"axes": ["t", "y", "x"], "voxel_size": [1, 4, 2], "offset": [0, 8, 20]}
    array = open_array(tmp_path / "a.zarr", "one", **given)
    assert (array.axes, array.voxel_size, array.roi.offset) == (["y", "x"], SIZE, OFFSET)
    np.testing.assert_array_equal(array[array.roi], VALUES)
    assert open_array(tmp_path / "a.zarr", "two", **given).axes == ["t", "y", "x"]
    assert open_array(tmp_path / "a.zarr", "two", **given, select={"t": 1}).axes == ["y", "x"]
