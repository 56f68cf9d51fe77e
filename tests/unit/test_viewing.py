"""Arrays in neuroglancer: the real viewer's volume gives the voxels of the array, and asks for no more."""

from __future__ import annotations

import io
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.errors import MissingDependencyError
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.datasplits.datasets.arrays.viewing import neuroglancer_layer
from dacapo.experiments.datasplits.datasets.arrays.voxel_reader import VoxelReader

neuroglancer = pytest.importorskip("neuroglancer")


class Watched(NumpyArray):
    """Remembers what is read."""

    def __getitem__(self, roi: Roi) -> np.ndarray:
        self.__dict__.setdefault("read", []).append(roi)
        return super().__getitem__(roi)


def make(values: np.ndarray, axes: list[str], voxel_size: tuple[int, ...]) -> Watched:
    shape = Coordinate(size for axis, size in zip(axes, values.shape, strict=True) if axis != "c")
    roi = Roi(Coordinate(voxel_size) * 3, shape * Coordinate(voxel_size))
    array = Watched.from_np_array(values, roi, Coordinate(voxel_size), axes)
    array.__class__ = Watched
    return array


CASES = [
    (np.arange(60, dtype=np.uint8).reshape(3, 4, 5), ["z", "y", "x"], (8, 4, 4), "image"),
    (np.arange(60, dtype=np.uint64).reshape(3, 4, 5), ["z", "y", "x"], (8, 4, 4), "segmentation"),
    (np.arange(40, dtype=np.float32).reshape(2, 4, 5), ["c", "y", "x"], (4, 2), "image"),
    (np.arange(40, dtype=np.float32).reshape(4, 5, 2), ["y", "x", "c"], (4, 2), "image"),
]


@pytest.mark.parametrize(("values", "axes", "voxel_size", "kind"), CASES)
def test_volume_shows_the_array(values: np.ndarray, axes: list[str], voxel_size: tuple[int, ...], kind: str) -> None:
    volume = make(values, axes, voxel_size).neuroglancer_source()
    assert volume.volume_type == kind
    assert tuple(volume.shape) == values.shape
    spatial = [i for i, axis in enumerate(axes) if axis != "c"]
    assert [volume.dimensions.scales[i] for i in spatial] == pytest.approx([v * 1e-9 for v in voxel_size])
    assert [volume.voxel_offset[i] for i in spatial] == [3] * len(spatial)
    start, end = np.zeros(values.ndim, int), np.array(values.shape)
    encoded, _ = volume.get_encoded_subvolume("npz", start, end, ",".join("1" * values.ndim))
    np.testing.assert_array_equal(np.load(io.BytesIO(zlib.decompress(encoded))), values)


def test_only_what_is_asked_for_is_read() -> None:
    array = make(np.zeros((3, 4, 5), np.uint8), ["z", "y", "x"], (8, 4, 4))
    volume = array.neuroglancer_source()
    assert not array.__dict__.get("read")
    volume.get_encoded_subvolume("npz", np.array([1, 0, 2]), np.array([2, 3, 4]), "1,1,1")
    assert array.__dict__["read"] == [Roi((24 + 8, 12, 12 + 8), (8, 12, 8))]


INDICES = [
    np.s_[...],
    np.s_[:],
    np.s_[1],
    np.s_[-1, ..., 2],
    np.s_[::-1, 1:4:2],
    np.s_[..., 4:0:-2],
    np.s_[2:2],
    np.s_[0, 1, 2],
]


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("axes", [["z", "y", "x"], ["c", "y", "x"], ["y", "x", "c"]], ids="".join)
def test_voxels_are_indexed_like_those_of_numpy(index: Any, axes: list[str]) -> None:
    values = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    reader = VoxelReader(make(values, axes, (8, 4, 4)[: 3 if "z" in axes else 2]))
    np.testing.assert_array_equal(reader[index], values[index], strict=True)
    np.testing.assert_array_equal(np.asarray(reader), values, strict=True)
    np.testing.assert_array_equal(reader.transpose(), values.T, strict=True)


@pytest.mark.parametrize("index", [np.s_[3], np.s_[0, 0, 0, 0], np.s_[..., ...]], ids=str)
def test_an_index_that_does_not_fit_is_an_error(index: Any) -> None:
    with pytest.raises(IndexError):
        VoxelReader(make(np.zeros((3, 4, 5), np.uint8), ["z", "y", "x"], (8, 4, 4)))[index]


@pytest.mark.parametrize(("dtype", "shown"), [(bool, "uint8"), (np.float16, "float32"), (np.float64, "float32")])
def test_types_that_the_viewer_does_not_know_are_converted(dtype: Any, shown: str) -> None:
    values = np.random.default_rng(0).integers(0, 2, (3, 4, 5)).astype(dtype)
    volume = make(values, ["z", "y", "x"], (8, 4, 4)).neuroglancer_source()
    assert volume.info()["dataType"] == shown
    encoded, _ = volume.get_encoded_subvolume("npz", np.zeros(3, int), np.array(values.shape), "1,1,1")
    np.testing.assert_array_equal(np.load(io.BytesIO(zlib.decompress(encoded))), values.astype(shown), strict=True)


def test_layers() -> None:
    image = make(np.zeros((3, 4, 5), np.uint8), ["z", "y", "x"], (8, 4, 4))
    labels = make(np.zeros((3, 4, 5), np.uint64), ["z", "y", "x"], (8, 4, 4))
    assert image._neuroglancer_layer().type == "image"
    assert labels._neuroglancer_layer().type == "segmentation"
    assert labels._neuroglancer_layer().to_json()["source"][0]["enableDefaultSubsources"] is False
    assert "enableDefaultSubsources" not in str(neuroglancer_layer(labels, meshes=True).to_json())


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "neuroglancer", None)
    with pytest.raises(MissingDependencyError, match=r"dacapo\[neuroglancer\]"):
        make(np.zeros((3, 4), np.uint8), ["y", "x"], (4, 4)).neuroglancer_source()
