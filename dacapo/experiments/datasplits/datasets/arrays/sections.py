"""Sections through arrays, for pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from .array import Array
from .axes import spatial_axes_of

SIDE = 256
"""Most voxels along the side of a picture."""

_TRIES = 5


def section(array: Array, side: int = SIDE) -> Roi:
    """Return a section of limited size, in 3D one voxel deep along the first axis, where most voxels are not 0."""
    size, voxel = array.roi.shape / array.voxel_size, array.voxel_size
    shape = Coordinate(min(length, side) for length in size)
    corner = (size - shape) / 2
    if array.dims < 3:
        return Roi(array.roi.offset + corner * voxel, shape * voxel)
    shape = Coordinate((1, *shape[1:]))
    depths = {round(depth) for depth in np.linspace(0, size[0] - 1, _TRIES + 2)[1:-1]}
    nearest = sorted(depths, key=lambda depth: abs(depth - size[0] / 2))
    rois = [Roi(array.roi.offset + Coordinate((z, *corner[1:])) * voxel, shape * voxel) for z in nearest]
    return max(rois, key=lambda roi: np.count_nonzero(array[roi]))


def plane(array: Array, roi: Roi, channel: int = 0) -> npt.NDArray[Any]:
    """Return the values of an array in a section, of one channel, as an image; outside of the array they are 0."""
    values = box(array, roi, channel)
    return values if values.ndim == 2 else values[values.shape[0] // 2]


def box(array: Array, roi: Roi, channel: int = 0) -> npt.NDArray[Any]:
    """Return the values of an array in a region that is grown to whole voxels, of one channel; outside they are 0."""
    region = roi.snap_to_grid(array.voxel_size, mode="grow")
    values = np.zeros(region.shape / array.voxel_size, array.dtype)
    inside = region.intersect(array.roi)
    if not inside.empty:
        found = array[inside]
        if array.channel_axis is not None:
            found = found.take(channel, axis=array.channel_axis)
        begin = (inside.offset - region.offset) / array.voxel_size
        values[tuple(slice(b, b + n) for b, n in zip(begin, found.shape, strict=True))] = found
    return values


def in_words(array: Array, roi: Roi) -> str:
    """Return a region in units of the world, such as ``z 0 to 40 nm, y 0 to 800 nm, x 0 to 800 nm``."""
    begin, end = array.world.in_units(roi.begin), array.world.in_units(roi.end)
    sides = [
        f"{axis} {b:g} to {e:g}" + (f" {unit}" if unit else "")
        for axis, b, e, unit in zip(
            spatial_axes_of(array.axes), begin, end, array.units or [""] * array.dims, strict=True
        )
    ]
    return ", ".join(sides)
