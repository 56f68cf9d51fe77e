"""The base classes of arrays that compute their values from other arrays on demand."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, RoiError
from dacapo.utils.byte_order import native

from .array import Array, ArrayConfig
from .axes import NON_SPATIAL_AXES
from .world import World, common_unit


def build(config: ArrayConfig) -> Array:
    """Build the array of a config."""
    array: Array = config.array_type(config)
    return array


def build_all(configs: Sequence[ArrayConfig]) -> list[Array]:
    """Build the arrays of several configs, whose world coordinates count one unit."""
    arrays = [build(config) for config in configs]
    unit = common_unit([array.world for array in arrays]) if arrays else None
    return arrays if unit is None else [build(config.counted_in(unit)) for config in configs]


class ArrayView(Array):
    """An array computed from source arrays when it is read.

    A subclass implements :meth:`_read`, or derives from :class:`VoxelwiseView` and implements ``_compute``. Its
    properties (axes, data type, channels) default to those of the first source. Views read only the requested roi, and
    can be nested.
    """

    def __init__(self, name: str, sources: Sequence[Array]) -> None:
        """Set up the view.

        Args:
            name: Name of the view, for messages.
            sources: At least one; they must have the same voxel size, spatial axes and voxel grid.

        Raises:
            ConfigError: If the sources do not match.
            RoiError: If the sources have no common region.
        """
        self.name = name
        self._sources = list(sources)
        if not self._sources:
            raise ConfigError(f"{self}: no source array given; at least one is needed")
        self._source = self._sources[0]
        for other in self._sources[1:]:
            self._check_match(self._source, other)
        self._roi = self._common_roi()

    def _check_match(self, first: Array, other: Array) -> None:
        if _spatial(first) != _spatial(other):
            raise ConfigError(
                f"{self}: {first} has the axes {first.axes}, {other} has {other.axes}; "
                "sources need the same spatial axes in the same order"
            )
        if common_unit([first.world, other.world]) is not None:
            raise ConfigError(
                f"{self}: world coordinates of {first} count {first.world}, those of {other} count {other.world}; "
                "correct the units, or open both with one world_unit"
            )
        if first.voxel_size != other.voxel_size:
            raise ConfigError(
                f"{self}: voxel size of {first} is {first.voxel_size}, that of {other} is {other.voxel_size}; "
                "resample one of them"
            )
        if any((first.roi.offset - other.roi.offset) % first.voxel_size):
            raise ConfigError(
                f"{self}: {first} starts at {first.roi.offset}, {other} at {other.roi.offset}, which is not an integer "
                f"number of voxels ({first.voxel_size}) apart"
            )

    def _common_roi(self) -> Roi:
        roi = self._source.roi
        for other in self._sources[1:]:
            roi = roi.intersect(other.roi)
        if roi.empty:
            rois = ", ".join(f"{source.roi}" for source in self._sources)
            raise RoiError(f"{self}: the sources have no region in common; their rois are {rois}")
        return roi

    @property
    def sources(self) -> list[Array]:
        """The arrays that the values are computed from."""
        return list(self._sources)

    @abstractmethod
    def _read(self, roi: Roi) -> np.ndarray[Any, Any]:
        """Compute the values in a valid roi, with :attr:`axes` and of data type :attr:`dtype`."""
        raise NotImplementedError

    def source_roi(self, roi: Roi) -> Roi:
        """Return the region of the sources that lies where a region of the view does; by default the same."""
        return roi

    def __getitem__(self, roi: Roi) -> np.ndarray[Any, Any]:
        """Read the sources in a roi and compute the values.

        Raises:
            RoiError: If the roi is not on the grid or extends outside.
        """
        self.check_roi(roi)
        return native(self._read(roi))

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Attributes of the source; empty if there are several sources."""
        return self._source.attrs if len(self._sources) == 1 else {}

    @property
    def axes(self) -> list[str]:
        return self._source.axes

    @property
    def dims(self) -> int:
        return self._source.dims

    @property
    def voxel_size(self) -> Coordinate:
        return self._source.voxel_size

    @property
    def roi(self) -> Roi:
        """Region that all sources cover, in world units."""
        return self._roi

    @property
    def world(self) -> World:
        return self._source.world

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._source.dtype

    @property
    def num_channels(self) -> int | None:
        # A NumpyArray without a channel axis raises an error instead of returning None.
        return None if self._source.channel_axis is None else self._source.num_channels

    @property
    def is_stored(self) -> bool:
        """Whether any source is stored."""
        return any(source.is_stored for source in self._sources)

    def fix_labels(self) -> None:
        for source in self._sources:
            source.fix_labels()

    @property
    def data(self) -> np.ndarray[Any, Any]:
        """All values, computed on access."""
        return self[self.roi]

    @property
    def writable(self) -> bool:
        """Always false: computed values cannot be set."""
        return False


class VoxelwiseView(ArrayView):
    """A view whose values in a roi are computed from the values of its sources in the same roi."""

    @abstractmethod
    def _compute(self, *values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Compute the values of the view.

        Args:
            values: One array per source, with all axes of that source, all covering the same roi.

        Returns:
            Values with :attr:`axes` of data type :attr:`dtype`.
        """
        raise NotImplementedError

    def _read(self, roi: Roi) -> np.ndarray[Any, Any]:
        return self._compute(*(source[roi] for source in self._sources))


class ChannelView(VoxelwiseView):
    """A view that computes one channel per name; the channel axis comes first.

    The sources have no channel axis, or exactly one channel.
    """

    def __init__(self, name: str, sources: Sequence[Array], channels: Sequence[str]) -> None:
        super().__init__(name, sources)
        self._channels = list(channels)
        if not self._channels:
            raise ConfigError(f"{self}: no channels given; at least one is needed")
        if len(set(self._channels)) != len(self._channels):
            raise ConfigError(f"{self}: channels are {self._channels}; each name may occur once")
        for source in self._sources:
            if source.channel_axis is not None and source.num_channels != 1:
                raise ConfigError(f"{self}: {source} has {source.num_channels} channels; expected none or one")

    @property
    def channels(self) -> list[str]:
        """Names of the channels."""
        return list(self._channels)

    @property
    def axes(self) -> list[str]:
        return ["c", *(axis for axis in self._source.axes if axis != "c")]

    @property
    def num_channels(self) -> int:
        return len(self._channels)

    def _read(self, roi: Roi) -> np.ndarray[Any, Any]:
        return self._compute(*(_without_channels(source, source[roi]) for source in self._sources))


def _without_channels(source: Array, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    axis = source.channel_axis
    return values if axis is None else values.squeeze(axis)


def _spatial(array: Array) -> list[str]:
    return [axis for axis in array.axes if axis not in NON_SPATIAL_AXES]
