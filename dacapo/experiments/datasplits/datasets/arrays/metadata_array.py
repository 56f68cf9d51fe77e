"""The shared part of arrays that know their position in the world from metadata."""

from __future__ import annotations

from typing import Any

import numpy as np
from funlib.geometry import Coordinate

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
