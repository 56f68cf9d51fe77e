"""Values outside a volume, by reflection at its first and last voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import RoiError


def reflected_indices(start: int, stop: int, size: int) -> npt.NDArray[np.intp]:
    """Return the index inside ``range(size)`` that stands for each index of ``range(start, stop)``.

    The sequence 0 1 2 of three voxels goes on as ... 2 1 | 0 1 2 | 1 0 1 ..., for any distance.
    """
    if size < 1:
        raise ValueError(f"cannot reflect into an axis of {size} voxels")
    period = max(2 * (size - 1), 1)
    indices = np.abs(np.arange(start, stop)) % period
    return np.minimum(indices, period - indices) if size > 1 else np.zeros_like(indices)


def read_reflected(array: Any, roi: Roi) -> npt.NDArray[Any]:
    """Read a region of an array that may reach beyond it.

    Args:
        array: An ``Array`` (anything with ``roi``, ``voxel_size``, ``axes`` and reading by roi).
        roi: The region in world units, aligned to the voxel grid of the array.

    Returns:
        The values, with the axes of the array. Only the part of the array that is needed is read.

    Raises:
        RoiError: If the region is not aligned to the voxel grid.
    """
    if array.roi.contains(roi):
        return np.asarray(array[roi])
    voxel_size, origin = array.voxel_size, array.roi.offset
    if any((b - o) % v for b, o, v in zip(roi.offset, origin, voxel_size, strict=True)) or any(
        s % v for s, v in zip(roi.shape, voxel_size, strict=True)
    ):
        raise RoiError(f"region {roi} is not aligned to voxels of {voxel_size} that start at {origin}")
    begin = (roi.offset - origin) / voxel_size
    end = begin + roi.shape / voxel_size
    size = array.roi.shape / voxel_size
    indices = [reflected_indices(int(b), int(e), int(n)) for b, e, n in zip(begin, end, size, strict=True)]
    lower = [int(i.min()) for i in indices]
    upper = [int(i.max()) + 1 for i in indices]
    extent = Coordinate(u - lo for lo, u in zip(lower, upper, strict=True))
    needed = Roi(origin + voxel_size * Coordinate(lower), voxel_size * extent)
    values = np.asarray(array[needed])
    spatial = [axis for axis, name in enumerate(array.axes) if name not in ("c", "b")]
    for axis, index, low in zip(spatial, indices, lower, strict=True):
        if not np.array_equal(index, np.arange(values.shape[axis]) + low):
            values = np.take(values, index - low, axis=axis)
    return values
