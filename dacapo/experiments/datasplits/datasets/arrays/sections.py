"""Sections through arrays, for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from .array import Array
from .axes import spatial_axes_of

SIDE = 256
"""Most voxels along the side of a picture."""

_TRIES = 5


def section(array: Array, voxel_size: Coordinate | None = None) -> Roi:
    """Return a section of limited size, in 3D one voxel deep along the first axis, where most voxels are not 0.

    Args:
        array: The array to look at, in five depths.
        voxel_size: The pixels of the picture, `SIDE` of them at most; by default the voxels of the array.
    """
    voxel = array.voxel_size
    size, most = array.roi.shape / voxel, (voxel if voxel_size is None else voxel_size) * SIDE
    shape = Coordinate(min(length, max(1, side // edge)) for length, side, edge in zip(size, most, voxel, strict=True))
    corner = (size - shape) / 2
    if array.dims < 3:
        return Roi(array.roi.offset + corner * voxel, shape * voxel)
    shape = Coordinate((1, *shape[1:]))
    depths = {round(depth) for depth in np.linspace(0, size[0] - 1, _TRIES + 2)[1:-1]}
    nearest = sorted(depths, key=lambda depth: abs(depth - size[0] / 2))
    rois = [Roi(array.roi.offset + Coordinate((z, *corner[1:])) * voxel, shape * voxel) for z in nearest]
    return max(rois, key=lambda roi: np.count_nonzero(array[roi]))


def plane(array: Array, roi: Roi, channel: int = 0, voxel_size: Coordinate | None = None) -> npt.NDArray[Any]:
    """Return the values of an array in a section, of one channel, as an image; outside of the array they are 0.

    Args:
        array: The array.
        roi: The section; its depth along the first axis is that of one pixel.
        channel: The channel.
        voxel_size: The pixels of the image; by default the voxels of the array.
    """
    pixel = array.voxel_size if voxel_size is None else voxel_size
    rows, columns = (max(1, round(side / edge)) for side, edge in zip(roi.shape[-2:], pixel[-2:], strict=True))
    return sampled(array, roi, (1, rows, columns)[-array.dims :], channel).reshape(rows, columns)


def sampled(array: Array, roi: Roi, shape: Sequence[int], channel: int = 0) -> npt.NDArray[Any]:
    """Return the values of an array at the centers of equal parts of a region, so that arrays of any voxels fit.

    Args:
        array: The array.
        roi: The region, on no grid in particular.
        shape: Number of parts along each axis.
        channel: The channel.

    Returns:
        The values of one channel, 0 outside of the array.
    """
    values = np.zeros(shape, array.dtype)
    # Twice the positions, since the center of a part may lie between two integers.
    indices = [
        (2 * (begin - origin) + side * (2 * np.arange(count) + 1) // count) // (2 * edge)
        for begin, side, count, origin, edge in zip(
            roi.begin, roi.shape, shape, array.roi.begin, array.voxel_size, strict=True
        )
    ]
    inside = [(index >= 0) & (index < n) for index, n in zip(indices, array.roi.shape / array.voxel_size, strict=True)]
    if not all(axis.any() for axis in inside):
        return values
    wanted = [index[within] for index, within in zip(indices, inside, strict=True)]
    first, last = Coordinate(index[0] for index in wanted), Coordinate(index[-1] + 1 for index in wanted)
    found = array[Roi(array.roi.begin + first * array.voxel_size, (last - first) * array.voxel_size)]
    if array.channel_axis is not None:
        found = found.take(channel, axis=array.channel_axis)
    picked = np.ix_(*(index - start for index, start in zip(wanted, first, strict=True)))
    values[np.ix_(*inside)] = found[picked]
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
