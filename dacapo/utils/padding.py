"""Values outside a volume: reflected at its first and last voxel, or 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import RoiError


def reflected_indices(start: int, stop: int, size: int) -> npt.NDArray[np.intp]:
    """Return the index inside ``range(size)`` that each index of ``range(start, stop)`` is reflected to.

    The sequence 0 1 2 of three voxels continues as ... 2 1 | 0 1 2 | 1 0 1 ..., for any distance.
    """
    if size < 1:
        raise ValueError(f"cannot reflect into an axis of {size} voxels")
    period = max(2 * (size - 1), 1)
    indices = np.abs(np.arange(start, stop)) % period
    return np.minimum(indices, period - indices) if size > 1 else np.zeros_like(indices)


def read_reflected(array: Any, roi: Roi) -> npt.NDArray[Any]:
    """Read a region of an array that may extend beyond it.

    Args:
        array: An ``Array`` (anything with ``roi``, ``voxel_size``, ``axes`` and reading by roi).
        roi: The region in world units, aligned to the voxel grid of the array.

    Returns:
        The values, with the axes of the array. Only the necessary part of the array is read.

    Raises:
        RoiError: If the region is not aligned to the voxel grid.
    """
    if array.roi.contains(roi):
        return np.asarray(array[roi])
    check_aligned(array, roi)
    indices = _indices(array, roi)
    values = np.asarray(array[_region_of(array, indices)])
    spatial = [axis for axis, name in enumerate(array.axes) if name not in ("c", "b")]
    for axis, index in zip(spatial, indices, strict=True):
        low = int(index.min())
        if not np.array_equal(index, np.arange(values.shape[axis]) + low):
            values = np.take(values, index - low, axis=axis)
    return values


def reflected_region(array: Any, roi: Roi) -> Roi:
    """Return the region of an array that :func:`read_reflected` reads, in world units.

    An array of that region alone gives the same values.
    """
    return _region_of(array, _indices(array, roi))


def _indices(array: Any, roi: Roi) -> list[npt.NDArray[np.intp]]:
    """Return for each spatial axis the voxels of the array that those of a region are reflected to."""
    begin = (roi.offset - array.roi.offset) / array.voxel_size
    end = begin + roi.shape / array.voxel_size
    size = array.roi.shape / array.voxel_size
    return [reflected_indices(int(b), int(e), int(n)) for b, e, n in zip(begin, end, size, strict=True)]


def _region_of(array: Any, indices: list[npt.NDArray[np.intp]]) -> Roi:
    lower = Coordinate(int(index.min()) for index in indices)
    extent = Coordinate(int(index.max()) + 1 for index in indices) - lower
    return Roi(array.roi.offset + array.voxel_size * lower, array.voxel_size * extent)


def read_zero_padded(array: Any, roi: Roi) -> npt.NDArray[Any]:
    """Read a region of an array that may extend beyond it, with 0 outside.

    Args:
        array: As in :func:`read_reflected`.
        roi: The region in world units, aligned to the voxel grid of the array.

    Returns:
        The values, with the axes of the array.

    Raises:
        RoiError: If the region is not aligned to the voxel grid.
    """
    if array.roi.contains(roi):
        return np.asarray(array[roi])
    common = roi.intersect(array.roi)
    check_aligned(array, roi)
    extent = iter(roi.shape / array.voxel_size)
    inner = iter(((common - roi.offset) / array.voxel_size).to_slices()) if common.size else None
    shape, index = [], []
    for name in array.axes:
        if name in ("c", "b"):
            shape.append(array.num_channels if name == "c" else 1)
            index.append(slice(None))
        else:
            shape.append(int(next(extent)))
            index.append(slice(0, 0) if inner is None else next(inner))
    values = np.zeros(shape, dtype=array.dtype)
    if inner is not None:
        values[tuple(index)] = array[common]
    return values


def check_aligned(array: Any, roi: Roi) -> None:
    """Raise a RoiError unless a region lies on the voxel grid of an array."""
    voxel_size, origin = array.voxel_size, array.roi.offset
    if any((roi.offset - origin) % voxel_size) or any(roi.shape % voxel_size):
        raise RoiError(f"region {roi} is not aligned to voxels of {voxel_size} that start at {origin}")
