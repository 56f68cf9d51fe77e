"""Volumes to work on, and how they get onto disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from dacapo.experiments.datasplits.datasets.arrays import NumpyArray, ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier

VOXEL_SIZE = Coordinate(8, 8, 8)
DIRECT = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
LONG_RANGE = [(4, 0, 0), (0, 4, 0), (0, 0, 4)]


def cells(size: int, spacing: int = 16, seed: int = 0) -> npt.NDArray[np.uint64]:
    """Return labels, from 1 on, of a cube full of convex cells that lie ``spacing`` voxels apart."""
    rng = np.random.default_rng(seed)
    count = max(4, (size // spacing) ** 3)
    grid = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    nearest = cKDTree(rng.uniform(0, size, (count, 3))).query(grid)[1]
    return (nearest + 1).astype(np.uint64).reshape(size, size, size)


def with_background(labels: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return labels with a thin background between them."""
    border = np.zeros(labels.shape, dtype=bool)
    for axis in range(labels.ndim):
        border |= np.roll(labels, 1, axis) != labels
    return np.where(border, np.uint64(0), labels)


def blobs(size: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return smooth noise, positive in half of the voxels."""
    noise = np.random.default_rng(seed).standard_normal((size,) * 3).astype(np.float32)
    smooth = gaussian_filter(noise, 4)
    return np.asarray(smooth / smooth.std(), dtype=np.float32)


def image(labels: npt.NDArray[np.uint64], seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return a noisy image of cells with dark borders."""
    noise = np.random.default_rng(seed).normal(0, 12, labels.shape)
    return (np.where(with_background(labels) > 0, 190, 60) + noise).clip(0, 255).astype(np.uint8)


def in_memory(values: npt.NDArray[Any], voxel_size: Coordinate = VOXEL_SIZE) -> NumpyArray:
    """Return spatial values as an array of the package."""
    roi = Roi((0,) * values.ndim, Coordinate(values.shape) * voxel_size)
    return NumpyArray.from_np_array(values, roi, voxel_size, ["z", "y", "x"])


def on_disk(
    folder: Path, dataset: str, values: npt.NDArray[Any], chunk: int = 64, attributes: dict[str, Any] | None = None
) -> LocalArrayIdentifier:
    """Write values as a Zarr dataset; a fourth axis, in front, is that of channels."""
    identifier = LocalArrayIdentifier(folder / "data.zarr", dataset)
    array = ZarrArray.create_from_array_identifier(
        identifier,
        ["c", "z", "y", "x"],
        Roi((0, 0, 0), Coordinate(values.shape[-3:]) * VOXEL_SIZE),
        values.shape[0] if values.ndim == 4 else None,
        VOXEL_SIZE,
        values.dtype,
        write_size=Coordinate((chunk,) * 3) * VOXEL_SIZE,
    )
    array[array.roi] = values
    array.add_metadata(attributes or {})
    return identifier
