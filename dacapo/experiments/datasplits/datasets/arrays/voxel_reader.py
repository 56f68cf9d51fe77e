"""Arrays that are indexed by voxels."""

from __future__ import annotations

from types import EllipsisType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from .axes import NON_SPATIAL_AXES

if TYPE_CHECKING:
    from .array import Array

Index = slice | int | EllipsisType


class VoxelReader:
    """Index an array by voxels, like a numpy array, and read only the requested ones.

    Args:
        array: The array to read.
        dtype: Data type of the result; by default that of the array.
    """

    def __init__(self, array: Array, dtype: npt.DTypeLike | None = None) -> None:
        self.array = array
        spatial = iter(array.roi.shape / array.voxel_size)
        channels = 0 if array.channel_axis is None else int(array.num_channels or 0)
        self.shape = tuple(channels if axis == "c" else 1 if axis == "b" else int(next(spatial)) for axis in array.axes)
        self.ndim = len(self.shape)
        self.dtype = np.dtype(array.dtype if dtype is None else dtype)

    def __getitem__(self, index: Index | tuple[Index, ...]) -> npt.NDArray[Any]:
        """Read voxels.

        Args:
            index: Slices and integers, one per axis; omitted axes are read completely.

        Raises:
            IndexError: If an integer is out of range, or there are more entries than axes.
        """
        wanted = self._one_per_axis(index)
        limits = [slice(*_ascending(part, size)) for part, size in zip(wanted, self.shape, strict=True)]
        if any(limit.start == limit.stop for limit in limits):  # a roi without voxels may be refused
            values = np.empty([limit.stop - limit.start for limit in limits], self.dtype)
        else:
            values = self._read(limits)
        # Remaining steps in memory: reverse, stride, and drop the axes of integers.
        steps = [slice(None, None, part.step) if isinstance(part, slice) else 0 for part in wanted]
        return np.asarray(values[tuple(steps)])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)

    def transpose(self) -> npt.NDArray[Any]:
        """Read everything, with the axes in reverse order."""
        return self[...].transpose()

    def _one_per_axis(self, index: Index | tuple[Index, ...]) -> list[slice | int]:
        parts = list(index) if isinstance(index, tuple) else [index]
        if Ellipsis not in parts:
            parts.append(Ellipsis)
        place, missing = parts.index(Ellipsis), self.ndim - len(parts) + 1
        if missing < 0 or Ellipsis in parts[place + 1 :]:
            raise IndexError(f"{self.array} has {self.ndim} axes, got the index {index!r}")
        return [
            part if isinstance(part, slice) else int(part)  # type: ignore[arg-type]  # no Ellipsis is left
            for part in [*parts[:place], *[slice(None)] * missing, *parts[place + 1 :]]
        ]

    def _read(self, index: list[slice]) -> npt.NDArray[Any]:
        limits = [(part.start, part.stop) for part in index]
        inside = [limit for limit, axis in zip(limits, self.array.axes, strict=True) if axis not in NON_SPATIAL_AXES]
        begin, end = (Coordinate(limit[side] for limit in inside) for side in (0, 1))
        voxel_size = self.array.voxel_size
        values = self.array[Roi(self.array.roi.offset + begin * voxel_size, (end - begin) * voxel_size)]
        others = tuple(
            slice(*limit) if axis in NON_SPATIAL_AXES else slice(None)
            for limit, axis in zip(limits, self.array.axes, strict=True)
        )
        return np.asarray(values[others], dtype=self.dtype)


def _ascending(part: slice | int, size: int) -> tuple[int, int]:
    """Return begin and end of the voxels from the first to the last indexed one along an axis."""
    if not isinstance(part, slice):
        if not -size <= part < size:
            raise IndexError(f"index {part} is out of range for an axis of {size} voxels")
        return part % size, part % size + 1
    places = range(size)[part]
    return (min(places[0], places[-1]), max(places[0], places[-1]) + 1) if places else (0, 0)
