"""Displacements between the points of a coarse grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

GRID_MARGIN = 1.5
"""How many spacings before a sample its grid of points begins."""


def keys_kernel(distance: Floats) -> Floats:
    """Return the weights of cubic convolution with a = -1/2 (Keys 1981, eq. 15) at distances in grid steps."""
    x = np.abs(distance)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def grid_weights(
    places: Floats, origin: float, spacing: float, num_points: int, begin: float = 0.0, step: float | None = None
) -> npt.NDArray[np.float64]:
    """Return the matrix that interpolates along an axis from the points of a grid to some places.

    With a step, the interpolation is evaluated at every so many world units only, and linearly in between. Since that
    depends on the place in the world alone, arrays of different voxel size are deformed by one field.

    Args:
        places: Where to interpolate, world units.
        origin: Where the first point of the grid lies, world units.
        spacing: Distance of the points, world units.
        num_points: How many there are.
        begin: The first place where the interpolation is evaluated, if there is a step; none of ``places`` is before.
        step: Distance of the places where it is evaluated, world units.

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
