"""The layout of an array to write: axes, shape, chunks, and its position in the world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.datasplits.datasets.arrays.axes import spatial_axes_of
from dacapo.experiments.datasplits.datasets.arrays.chunk_shapes import chunk_shape
from dacapo.experiments.datasplits.datasets.arrays.metadata import ArrayMetadata
from dacapo.experiments.datasplits.datasets.arrays.world import World


@attrs.frozen
class Layout:
    """An array to write; its channels, if any, come first.

    Attributes:
        axes: Names of the axes.
        channels: Number of channels, None without a channel axis.
        roi: Region in world coordinates.
        voxel_size: World coordinates, per spatial axis.
        dtype: Type of the values.
        world: What world coordinates count.
    """

    axes: list[str]
    channels: int | None
    roi: Roi
    voxel_size: Coordinate
    dtype: np.dtype[Any]
    world: World

    @classmethod
    def like(cls, array: Array) -> Layout:
        """Return the layout of an array with its channels in front.

        Raises:
            ConfigError: If the array has a batch axis.
        """
        if "b" in array.axes:
            raise ConfigError(f"{array} has the axes {array.axes}; an array with a batch axis cannot be converted")
        channels = None if array.channel_axis is None else int(array.num_channels or 0)
        axes = [*(["c"] if channels is not None else []), *spatial_axes_of(array.axes)]
        return cls(axes, channels, array.roi, array.voxel_size, array.dtype, array.world)

    def coarser(self, factors: Sequence[int]) -> Layout:
        """Return the layout with voxels that are larger by a factor along each spatial axis."""
        voxel_size = self.voxel_size * Coordinate(factors)
        shape = Coordinate(-(-extent // size) for extent, size in zip(self.roi.shape, voxel_size, strict=True))
        return attrs.evolve(self, roi=Roi(self.roi.offset, shape * voxel_size), voxel_size=voxel_size)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values along each axis."""
        leading = () if self.channels is None else (self.channels,)
        return (*leading, *(int(n) for n in self.roi.shape / self.voxel_size))

    @property
    def chunks(self) -> tuple[int, ...]:
        """Number of values of a chunk along each axis."""
        return chunk_shape(self.shape, self.axes, self.dtype.itemsize, None)

    @property
    def block_shape(self) -> Coordinate:
        """Extent of a block in world coordinates: twice a chunk along each axis, so that no two write to one chunk."""
        spatial = len(self.voxel_size)
        return Coordinate(2 * n for n in self.chunks[-spatial:]) * self.voxel_size

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes with the position in the world, in the plain convention."""
        world = self.world
        metadata = ArrayMetadata(
            self.axes, self.voxel_size, self.roi.offset, list(world.units), world.parts, list(world.shown)
        )
        return metadata.as_attributes()

    def index(self, roi: Roi) -> tuple[slice, ...]:
        """Return the index of a region in the array."""
        spatial: tuple[slice, ...] = ((roi - self.roi.offset) / self.voxel_size).to_slices()
        return (*([] if self.channels is None else [slice(None)]), *spatial)
