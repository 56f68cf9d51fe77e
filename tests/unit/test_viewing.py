"""Arrays in neuroglancer: the real viewer's volume gives the voxels of the array, and asks for no more."""

from __future__ import annotations

import io
import sys
import zlib

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.errors import MissingDependencyError
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray

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


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "neuroglancer", None)
    with pytest.raises(MissingDependencyError, match=r"dacapo\[neuroglancer\]"):
        make(np.zeros((3, 4), np.uint8), ["y", "x"], (4, 4)).neuroglancer_source()
