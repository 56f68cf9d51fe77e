"""Arrays in HDF5 files, TIFF files, stacks of images, precomputed volumes, and in memory."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import h5py
import imageio.v3
import numpy as np
import pytest
import tifffile
from funlib.geometry import Coordinate, Roi

from dacapo.errors import (
    ArrayNotFoundError,
    ConfigError,
    DtypeError,
    MetadataError,
    MetadataWarning,
    MissingDependencyError,
    StorageError,
)
from dacapo.experiments.datasplits.datasets.arrays import (
    Array,
    HDF5ArrayConfig,
    ImageStackArrayConfig,
    MemoryArrayConfig,
    TiffArrayConfig,
    open_array,
)
from dacapo.experiments.datasplits.datasets.arrays.chunk_cache import share_cache
from dacapo.experiments.datasplits.datasets.arrays.plane_cache import planes
from dacapo.options import Options
from dacapo.store.converter import from_plain, to_plain
from dacapo.testing.array import ArrayContract
from tests.helpers.arrays import build
from tests.helpers.formats import FORMATS, OFFSET, SIZE

VALUES = np.random.default_rng(0).integers(1, 250, (6, 7, 9)).astype(np.uint8)


@pytest.mark.parametrize("name", FORMATS)
class TestFormats(ArrayContract):
    @pytest.fixture
    def array(self, tmp_path: Path, name: str) -> Array:
        return build(FORMATS[name](tmp_path, "raw", VALUES))


@pytest.mark.parametrize("name", FORMATS)
def test_values_and_place_are_those_written(tmp_path: Path, name: str) -> None:
    config = FORMATS[name](tmp_path, "raw", VALUES)
    array = build(config)
    assert (array.axes, array.voxel_size, array.roi.offset) == (["z", "y", "x"], SIZE, OFFSET)
    np.testing.assert_array_equal(array[array.roi], VALUES)
    part = Roi(OFFSET + SIZE * Coordinate(2, 1, 3), SIZE * Coordinate(3, 4, 5))
    np.testing.assert_array_equal(array[part], VALUES[2:5, 1:5, 3:8])
    assert from_plain(to_plain(config), type(config)) == config
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array))[part], VALUES[2:5, 1:5, 3:8])


def _sum_of(array: Array) -> int:
    return int(array[array.roi].sum())


# TensorStore, which reads these formats, does not survive a fork; fetchers of such data are spawned.
SPAWNED = {"precomputed", "zarr3", "n5"}


@pytest.mark.parametrize("name", sorted(set(FORMATS) - SPAWNED))
def test_an_array_in_use_is_read_by_forked_processes(tmp_path: Path, name: str) -> None:
    array = build(FORMATS[name](tmp_path, "raw", VALUES))
    assert _sum_of(array) == VALUES.sum()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_sum_of, [array] * 4) == [VALUES.sum()] * 4
    assert _sum_of(array) == VALUES.sum()


# HDF5


def hdf5(path: Path, attributes: dict[str, Any], **more: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("raw", data=VALUES, **more).attrs.update(attributes)
    return path


@pytest.mark.parametrize(
    ("attributes", "spacing", "shown"),
    [
        ({"element_size_um": [0.04, 0.004, 0.004]}, (40, 4, 4), "micrometer"),
        ({"element_size_um": [4, 2, 2]}, (4000, 2000, 2000), "micrometer"),
        ({"resolution": [40, 4, 4], "units": ["nm"] * 3}, (40, 4, 4), "nanometer"),
        ({"voxel_size": np.array([5.24, 4, 4])}, (5.24, 4, 4), ""),
    ],
)
def test_sizes_of_voxels_in_hdf5(tmp_path: Path, attributes: dict[str, Any], spacing: Any, shown: str) -> None:
    path = hdf5(tmp_path / "a.h5", {"axes": "zyx", "offset": [0, 0, 0], **attributes})
    array = open_array(path)
    assert array.world.in_nanometers(array.voxel_size) == spacing
    assert array.world.shown == (shown,) * 3


def test_axes_of_ilastik_and_labels_of_dimensions_in_hdf5(tmp_path: Path) -> None:
    tags = '{"axes": [{"key": "x"}, {"key": "y"}, {"key": "c"}]}'
    path = hdf5(tmp_path / "a.h5", {"axistags": tags, "resolution": [1, 1], "offset": [0, 0]})
    assert open_array(path).axes == ["x", "y", "c"]
    path = hdf5(tmp_path / "b.h5", {"resolution": [1, 1, 1], "offset": [0, 0, 0]})
    with h5py.File(path, "a") as file:
        for dimension, label in zip(file["raw"].dims, "xzy", strict=True):
            dimension.label = label
    assert open_array(path).axes == ["x", "z", "y"]


def test_an_hdf5_file_without_metadata_is_given_it(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "a.h5", {})
    with pytest.warns(MetadataWarning, match=r"a\.h5/raw: no voxel size"):
        open_array(path)
    array = open_array(path, axes=["z", "y", "x"], voxel_size=(5.24, 4, 4), offset=(0, 0, 2))
    assert array.spacing == (5.24, 4, 4)


def test_errors_of_hdf5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hdf5(tmp_path / "a.h5", {})
    with h5py.File(path, "a") as file:
        file.create_dataset("deep/labels", data=VALUES)
        file["names"] = ["a", "b"]
    with pytest.raises(ArrayNotFoundError, match=r"dataset 'em' does not exist in .*a\.h5; it holds deep"):
        open_array(path, "em")
    with pytest.raises(ArrayNotFoundError, match="dataset 'deep' is a group, not an array"):
        open_array(path, "deep")
    with pytest.raises(ConfigError, match="several arrays: deep/labels, names, raw; name the dataset"):
        open_array(path)
    with pytest.raises(DtypeError, match="holds object"):
        open_array(path, "names")
    with pytest.raises(ArrayNotFoundError, match=r"file .*missing\.h5 does not exist"):
        build(HDF5ArrayConfig("a", tmp_path / "missing.h5", "raw"))
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:300])
    with pytest.raises(StorageError, match=r"cannot open .*cut\.h5 as HDF5"):
        open_array(tmp_path / "cut.h5", "raw")
    new = hdf5(tmp_path / "new.h5", {})
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dacapo\[hdf5\]'"):
        open_array(new, "raw")


def test_a_dataset_may_follow_the_name_of_the_file(tmp_path: Path) -> None:
    hdf5(tmp_path / "a.h5", {"resolution": SIZE, "offset": OFFSET, "axes": "zyx"})
    assert open_array(tmp_path / "a.h5" / "raw").roi.offset == OFFSET


# TIFF


@pytest.mark.parametrize("unit", ["um", "micron", "\\u00B5m"])
def test_units_of_imagej(tmp_path: Path, unit: str) -> None:
    metadata = {"axes": "ZCYX", "spacing": 0.04, "unit": unit}
    values = np.zeros((3, 2, 6, 8), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, resolution=(250, 125), metadata=metadata)
    with pytest.warns(MetadataWarning, match="no offset"):
        array = open_array(tmp_path / "a.tif")
    assert array.axes == ["z", "c", "y", "x"]
    assert array.world.in_nanometers(array.voxel_size) == (40, 8, 4)


def test_pixels_without_a_unit_stay_pixels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES, imagej=True, metadata={"axes": "ZYX"}, resolution=(1, 1))
    with pytest.warns(MetadataWarning, match="no voxel size"):
        array = open_array(tmp_path / "a.tif")
    assert (array.units, array.spacing) == (["", "", ""], (1, 1, 1))


def test_metadata_of_ome(tmp_path: Path) -> None:
    metadata = {"axes": "TCZYX", "Plane": {"PositionX": [1.5] * 24, "PositionXUnit": ["µm"] * 24}}
    for axis, size in zip("ZYX", (0.04, 0.008, 0.004), strict=True):
        metadata |= {f"PhysicalSize{axis}": size}
        metadata["Plane"] |= {f"Position{axis}": [1.5] * 24, f"Position{axis}Unit": ["µm"] * 24}
    values = np.arange(2 * 3 * 4 * 6 * 8, dtype=np.uint16).reshape(2, 3, 4, 6, 8)
    tifffile.imwrite(tmp_path / "a.ome.tif", values, metadata=metadata, compression="zlib")
    array = open_array(tmp_path / "a.ome.tif", select={"t": 1})
    assert (array.axes, array.world.shown) == (["c", "z", "y", "x"], ("micrometer",) * 3)
    assert array.world.in_nanometers(array.voxel_size) == (40, 8, 4)
    assert array.world.in_nanometers(array.roi.offset) == (1500, 1500, 1500)
    np.testing.assert_array_equal(array[array.roi], values[1])


@pytest.mark.parametrize(
    ("values", "axes"),
    [
        (np.zeros((6, 8), np.uint8), ["y", "x"]),
        (np.zeros((6, 8, 3), np.uint8), ["y", "x", "c"]),
        (np.zeros((5, 6, 8), np.uint8), ["z", "y", "x"]),
    ],
)
def test_axes_of_plain_tiffs(tmp_path: Path, values: np.ndarray, axes: list[str]) -> None:
    photometric = "rgb" if "c" in axes else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", values, photometric=photometric, compression="zlib")
    array = open_array(
        tmp_path / "a.tif", voxel_size=(1,) * (3 if "z" in axes else 2), offset=(0,) * (len(axes) - (axes[-1] == "c"))
    )
    assert array.axes == axes
    assert array[array.roi].shape == values.shape


def test_of_a_compressed_tiff_only_the_pages_that_are_asked_for_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES, compression="zlib", photometric="minisblack")
    array = build(TiffArrayConfig("a", tmp_path / "a.tif", (0, 0, 0), (1, 1, 1), ["z", "y", "x"]))
    decoded: list[int] = []
    decode = tifffile.TiffPage.asarray
    monkeypatch.setattr(
        tifffile.TiffPage, "asarray", lambda page, *args, **more: (decoded.append(page.index), decode(page))[1]
    )
    for _ in range(2):
        np.testing.assert_array_equal(array[Roi((2, 3, 4), (2, 2, 2))], VALUES[2:4, 3:5, 4:6])
    assert decoded == [2, 3]
    with Options.override(chunk_cache_bytes=0):
        array[array.roi]
        assert len(planes._planes) == 1
    size = VALUES[0].nbytes
    try:
        share_cache(2)
        with Options.override(chunk_cache_bytes=6 * size):
            array[array.roi]
            assert len(planes._planes) == 3
    finally:
        share_cache(1)


# Stacks of images


def test_planes_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (9, 10, 11):
        tifffile.imwrite(tmp_path / f"section_{number}_of_99.tif", np.full((4, 5), number, np.uint16))
    (tmp_path / "notes.txt").write_text("no image")
    array = open_array(tmp_path, voxel_size=(1, 1, 1), offset=(0, 0, 0))
    assert array.axes == ["z", "y", "x"]
    assert [int(plane[0, 0]) for plane in array[array.roi]] == [9, 10, 11]


def test_a_single_image_in_color(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (4, 5, 3)).astype(np.uint8)
    imageio.v3.imwrite(tmp_path / "a.png", values)
    array = open_array(tmp_path / "a.png", voxel_size=(4, 4), offset=(0, 0))
    assert (array.axes, array.num_channels) == (["y", "x", "c"], 3)
    np.testing.assert_array_equal(array[array.roi], values)


def test_errors_of_stacks(tmp_path: Path) -> None:
    for number in (1, 2, 4):
        imageio.v3.imwrite(tmp_path / f"{number}.png", np.zeros((4, 5), np.uint8))
    with pytest.raises(MetadataError, match=r"planes seem to be missing between 2\.png and 4\.png"):
        open_array(tmp_path)
    imageio.v3.imwrite(tmp_path / "3.png", np.zeros((4, 6), np.uint8))
    array = open_array(tmp_path, voxel_size=(1, 1, 1), offset=(0, 0, 0))
    with pytest.raises(StorageError, match=r"3\.png has shape \(4, 6\)"):
        array[array.roi]
    (tmp_path / "3.png").write_bytes(b"no image")
    with pytest.raises(StorageError, match=r"cannot read the image .*3\.png"):
        array[array.roi]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArrayNotFoundError, match=r"holds no images; expected files that end in \.png"):
        build(ImageStackArrayConfig("a", tmp_path / "empty"))


# Precomputed


def test_scales_of_a_precomputed_volume(tmp_path: Path) -> None:
    FORMATS["precomputed"](tmp_path, "raw", VALUES)
    for path, dataset in (("raw", None), ("raw", "s0"), ("raw/s0", None), (".", "raw/s0"), ("raw", "/s0/")):
        assert open_array(tmp_path / path, dataset).roi.offset == OFFSET
    assert open_array(tmp_path / "raw", level=SIZE).units == ["nm"] * 3
    with pytest.raises(ArrayNotFoundError, match=r"dataset 's1' does not exist in .*raw; it holds s0"):
        open_array(tmp_path / "raw", "s1")
    with pytest.raises(ArrayNotFoundError, match=r"levels s0 of \[8, 4, 4\], but none with voxels of \[9, 9, 9\]"):
        open_array(tmp_path / "raw", level=(9, 9, 9))


# Levels


def test_a_level_is_chosen_by_its_name_or_voxel_size(tmp_path: Path) -> None:
    FORMATS["multiscale"](tmp_path, "em", VALUES)
    for level in ("1", (1, 16, 8, 8)):
        array = open_array(tmp_path / "b.zarr", "em", level=level, select={"t": 0, "c": 0})
        np.testing.assert_array_equal(array[array.roi], VALUES[::2, ::2, ::2])
    with pytest.raises(ArrayNotFoundError, match="has the levels 0, 1, but not '7'"):
        open_array(tmp_path / "b.zarr", "em", level="7")
    with pytest.raises(ArrayNotFoundError, match="is no image with levels"):
        open_array(tmp_path / "b.zarr", "em/0", level="1")


# Memory


def test_arrays_in_memory(tmp_path: Path) -> None:
    values = VALUES.copy()
    config = MemoryArrayConfig.of(values, "mine", ["z", "y", "x"], (5.24, 4, 4), unit="nm")
    values[:] = 0
    array = build(config)
    np.testing.assert_array_equal(array[array.roi], VALUES)
    assert (array.spacing, array.units) == ((5.24, 4, 4), ["nm"] * 3)
    assert MemoryArrayConfig.of(VALUES, "mine", ["z", "y", "x"], (5.24, 4, 4), unit="nm") == config
    with pytest.raises(ArrayNotFoundError, match="in the memory of another process"):
        build(MemoryArrayConfig("lost", "0" * 32, ["z", "y", "x"], (1, 1, 1), (0, 0, 0)))
    with pytest.raises(DtypeError, match="expected numbers"):
        MemoryArrayConfig.of(np.array(["a"]), "text", ["x"], (1,))


def files_open() -> list[str]:
    return [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]


def test_the_file_that_another_process_forked_has_open_is_its_own(tmp_path: Path) -> None:
    """Closed before the fork, so that no two processes share a file of the HDF5 library."""
    array = build(FORMATS["hdf5"](tmp_path, "raw", VALUES))
    array[array.roi]
    open_files = {
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{fd}")
    }
    assert str(tmp_path / "a.h5") in open_files
    child = os.fork()
    if child == 0:
        names = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        os._exit(str(tmp_path / "a.h5") in names)
    assert os.waitpid(child, 0)[1] == 0
