"""Volumes to work on; nothing here imports the package."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

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
