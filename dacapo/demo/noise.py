"""Smooth noise for synthetic images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def smooth_noise(shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> Floats:
    """Return noise of mean 0 and standard deviation 1 whose features are about ``scale`` voxels wide."""
    from scipy import ndimage

    coarse = tuple(int(np.ceil(size / scale)) + 3 for size in shape)
    knots = rng.standard_normal(coarse).astype(np.float32)
    # Interpolate between knots `scale` voxels apart; start one knot inside to stay away from the edge.
    mesh = np.meshgrid(*(np.arange(size, dtype=np.float32) / scale + 1 for size in shape), indexing="ij", sparse=True)
    noise: Floats = ndimage.map_coordinates(knots, np.broadcast_arrays(*mesh), order=2, mode="nearest")
    return np.asarray((noise - noise.mean()) / (noise.std() + 1e-6))
