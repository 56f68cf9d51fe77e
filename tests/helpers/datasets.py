"""Datasets of arrays in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.datasplits.datasets.arrays import Array, NumpyArray

VOXEL = Coordinate(4, 4)


class ArrayDataset(Dataset):
    """A dataset of arrays in memory."""

    def __init__(self, raw: Array, gt: Array | None, mask: Array | None = None, **attributes: Any) -> None:
        self.name = attributes.pop("name", "data")
        self.raw, self.gt, self.mask = raw, gt, mask
        for name, value in attributes.items():
            setattr(self, name, value)


def array(data: np.ndarray, offset: Sequence[int] = (0, 0), voxel_size: Sequence[int] = VOXEL) -> NumpyArray:
    dims = len(voxel_size)
    roi = Roi(offset, Coordinate(data.shape[-dims:]) * Coordinate(voxel_size))
    axes = ["c"] * (data.ndim - dims) + ["z", "y", "x"][-dims:]
    return NumpyArray.from_np_array(data, roi, Coordinate(voxel_size), axes)


def coded(shape: tuple[int, ...]) -> np.ndarray:
    """Return an array in which every value names its voxel."""
    return np.arange(np.prod(shape)).reshape(shape)


def coded_dataset(size: int = 40, **attributes: Any) -> ArrayDataset:
    """Return a dataset in which raw data and labels name their voxel."""
    data = coded((size, size))
    return ArrayDataset(array(data.astype(np.float32)), array(data), **attributes)


def blobs(size: int = 48) -> ArrayDataset:
    """Return a dataset of square cells; offsets are no multiples of the voxel size, part of it is not annotated."""
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 9, (size // 6, size // 6)), np.ones((6, 6), dtype=int)).astype(np.uint64)
    raw = ((labels % 3) / 3 + rng.random(labels.shape) / 3).astype(np.float32)
    mask = np.ones_like(labels, dtype=np.uint8)
    mask[:, 20:24] = 0
    inner = (slice(4, -4), slice(4, -4))
    return ArrayDataset(array(raw, (2, 6)), array(labels[inner], (18, 22)), array(mask[inner], (18, 22)))


def zeros(shape: Sequence[int] = (40, 40), offset: Sequence[int] = (0, 0), voxel_size: Sequence[int] = VOXEL) -> Array:
    return array(np.zeros(shape, dtype=np.uint8), offset, voxel_size)


def ones(shape: Sequence[int]) -> Array:
    return array(np.ones(shape, dtype=np.uint8))


class DamagedArray(Array):
    """An array whose values cannot be read."""

    attrs = axes = dims = voxel_size = roi = dtype = num_channels = data = writable = None  # type: ignore[assignment]

    def __init__(self, like: Array) -> None:
        self.axes, self.dims, self.voxel_size, self.roi = like.axes, like.dims, like.voxel_size, like.roi
        self.dtype = like.dtype

    def __getitem__(self, roi: Roi) -> np.ndarray:
        raise OSError("the disk is gone")
