"""The shared part of arrays that know their position in the world from metadata."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, MetadataWarning, RoiError

from .array import Array
from .axes import spatial_axes_of
from .metadata import ArrayMetadata
from .world import World


class MetadataArray(Array):
    """Base class of arrays in files, whose metadata, shape and data type are known before voxels are read."""

    _metadata: ArrayMetadata
    _shape: tuple[int, ...]
    _dtype: np.dtype[Any]

    @property
    def axes(self) -> list[str]:
        return list(self._metadata.axes)

    @property
    def dims(self) -> int:
        return len(self.spatial_axes)

    @property
    def spatial_axes(self) -> list[str]:
        """Names of the axes with an extent in the world."""
        return spatial_axes_of(self._metadata.axes)

    @property
    def voxel_size(self) -> Coordinate:
        return self._metadata.voxel_size

    @property
    def world(self) -> World:
        return self._metadata.world

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    @property
    def is_stored(self) -> bool:
        return True

    @property
    def num_channels(self) -> int | None:
        axis = self.channel_axis
        return None if axis is None else self._shape[axis]


def snapped(array: MetadataArray, roi: Roi, snap_to_grid: Coordinate | None) -> Roi:
    """Move an array to the next point of a grid, and crop it to end on the grid.

    Args:
        array: The array.
        roi: Region of the array, in world units.
        snap_to_grid: The grid, in world units; None leaves the array where it is.

    Raises:
        ConfigError: If the grid has another number of dimensions.
        RoiError: If the array holds no whole cell of the grid.
    """
    if snap_to_grid is None:
        return roi
    if snap_to_grid.dims != roi.dims or min(snap_to_grid) <= 0:
        raise ConfigError(f"{array}: snap_to_grid is {snap_to_grid}; expected {roi.dims} positive numbers")
    grid = Coordinate(math.lcm(a, b) for a, b in zip(array.voxel_size, snap_to_grid, strict=True))
    moved = roi.snap_to_grid(grid, mode="shrink")
    if min(moved.shape) <= 0:
        raise RoiError(f"{array}: roi {roi} holds no whole cell of a grid of {grid}")
    distance = moved.offset - roi.offset
    if any(m >= size for m, size in zip(distance, array.voxel_size, strict=True)):
        warnings.warn(
            f"{array}: snap_to_grid {snap_to_grid} moves the data by {distance} world units, which exceeds "
            f"rounding (voxel size {array.voxel_size}); to leave it in place use a CropArray instead",
            MetadataWarning,
            stacklevel=2,
        )
    return moved
