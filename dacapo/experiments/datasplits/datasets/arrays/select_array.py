"""One position along some axes of an array, such as a point in time."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError
from dacapo.experiments.config import field

from .array import ArrayConfig
from .axes import spatial_axes_of
from .view import ArrayView, build
from .world import World


class SelectArray(ArrayView):
    """An array without some of its axes, along each of which one position is chosen."""

    def __init__(self, array_config: SelectArrayConfig) -> None:
        """Build the source.

        Raises:
            ConfigError: If an axis does not exist, an index is out of range, or no spatial axis is left.
        """
        super().__init__(array_config.name, [build(array_config.source_array_config)])
        self._index = dict(array_config.index)
        axes = self._source.axes
        unknown = [axis for axis in self._index if axis not in axes]
        if unknown:
            raise ConfigError(f"{self}: {self._source} has no axis {', '.join(unknown)}; its axes are {axes}")
        self._spatial = spatial_axes_of(axes)
        self._kept = [number for number, axis in enumerate(self._spatial) if axis not in self._index]
        if not self._kept:
            raise ConfigError(f"{self}: no spatial axis of {axes} is left; choose along fewer of them")
        self._places = {axis: self._place(axis, number) for axis, number in self._index.items()}
        self._roi = Roi(self._without(self._source.roi.offset), self._without(self._source.roi.shape))

    def _place(self, axis: str, number: int) -> int:
        if axis in self._spatial:
            at = self._spatial.index(axis)
            length = int(self._source.roi.shape[at] // self._source.voxel_size[at])
        else:
            channels = self._source.num_channels if axis == "c" else None
            length = 1 if channels is None else channels
        if not -length <= number < length:
            raise ConfigError(f"{self}: {axis} is {number}, but the axis {axis} of {self._source} has {length} entries")
        return number % length

    def _without(self, values: Coordinate) -> Coordinate:
        return Coordinate(values[number] for number in self._kept)

    @property
    def axes(self) -> list[str]:
        return [axis for axis in self._source.axes if axis not in self._index]

    @property
    def dims(self) -> int:
        return len(self._kept)

    @property
    def world(self) -> World:
        world = self._source.world
        units, shown = (tuple(names[number] for number in self._kept) for names in (world.units, world.shown))
        return World(units, world.parts, shown)

    @property
    def voxel_size(self) -> Coordinate:
        return self._without(self._source.voxel_size)

    @property
    def num_channels(self) -> int | None:
        return None if "c" in self._index else super().num_channels

    def source_roi(self, roi: Roi) -> Roi:
        source = self._source
        begin, shape = list(source.roi.offset), list(source.voxel_size)
        for axis, place in self._places.items():
            if axis in self._spatial:
                begin[self._spatial.index(axis)] += place * source.voxel_size[self._spatial.index(axis)]
        for number, offset, extent in zip(self._kept, roi.offset, roi.shape, strict=True):
            begin[number], shape[number] = offset, extent
        return Roi(begin, shape)

    def _read(self, roi: Roi) -> np.ndarray[Any, Any]:
        index = [
            slice(None) if axis not in self._index else 0 if axis in self._spatial else self._places[axis]
            for axis in self._source.axes
        ]
        return self._source[self.source_roi(roi)][tuple(index)]


@attrs.define
class SelectArrayConfig(ArrayConfig):
    """Config of an array without some of its axes, along each of which one position is chosen."""

    array_type: ClassVar[type[SelectArray]] = SelectArray

    source_array_config: ArrayConfig = field("The array to select from.")
    index: dict[str, int] = field(
        "The index along each axis to drop, such as {t: 0}; negative ones count from the end. Points in time, "
        "channels, and planes of a volume can be chosen."
    )
