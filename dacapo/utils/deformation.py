"""Interpolation of displacements between the points of a coarse grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

GRID_MARGIN = 1.5
"""Number of spacings by which the grid extends beyond the beginning of a sample."""


def keys_kernel(distance: Floats) -> Floats:
    """Return the weights of cubic convolution with a = -1/2 (Keys 1981, eq. 15) at distances in grid steps."""
    x = np.abs(distance)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def grid_weights(
    places: Floats, origin: float, spacing: float, num_points: int, begin: float = 0.0, step: float | None = None
) -> npt.NDArray[np.float64]:
    """Return the matrix that interpolates along an axis from the points of a grid to given positions.

    With a step, the interpolation is evaluated only at multiples of the step in world units, and linearly in between.
    Since those positions depend only on the world, arrays of different voxel sizes are deformed by the same field.

    Args:
        places: Positions to interpolate at, world units.
        origin: Position of the first point of the grid, world units.
        spacing: Distance of the points, world units.
        num_points: Number of points.
        begin: The first position to evaluate the interpolation at, if a step is given; at or before all ``places``.
        step: Distance of the positions to evaluate it at, world units.

    Returns:
        Shape (places, points).
    """

    def cubic(at: Floats) -> Floats:
        return keys_kernel((at - origin)[:, None] / spacing - np.arange(num_points)[None, :])

    if step is None:
        return np.asarray(cubic(places), dtype=np.float64)
    knots = (places - begin) / step
    count = int(np.ceil(knots.max(initial=0))) + 1
    linear = np.clip(1 - np.abs(knots[:, None] - np.arange(count)[None, :]), 0, None)
    return np.asarray(linear @ cubic(begin + np.arange(count) * step), dtype=np.float64)
