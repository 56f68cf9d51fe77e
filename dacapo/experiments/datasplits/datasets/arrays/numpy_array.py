"""An array in memory."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import MetadataError, MetadataWarning, ReadOnlyError
from dacapo.utils.byte_order import native_dtype

from .array import Array
from .axes import NON_SPATIAL_AXES, axis_names, spatial_axes_of

if TYPE_CHECKING:
    import gunpowder as gp


class NumpyArray(Array):
    """A numpy array with a position in the world.

    Created by :meth:`from_np_array` or :meth:`from_gp_array`. It has no config, since configs cannot hold arrays.
    """

    _data: np.ndarray[Any, Any]
    _roi: Roi
    _voxel_size: Coordinate
    _axes: list[str]

    def __init__(self, array_config: Any) -> None:
        raise TypeError("a NumpyArray has no config; use NumpyArray.from_np_array(array, roi, voxel_size, axes)")

    @classmethod
    def from_gp_array(cls, array: gp.Array) -> NumpyArray:
        """Wrap a gunpowder array; leading axes beyond the spatial ones are channels, or batch and channels.

        Raises:
            MetadataError: If its values have no data type, or its spec lacks their position.
        """
        _require_values(array.data)
        if array.spec is None or array.spec.roi is None or array.spec.voxel_size is None:
            raise MetadataError(
                f"the spec of a gunpowder array is {array.spec}; expected one with a roi and a voxel size"
            )
        dims = array.spec.roi.dims
        extra = array.data.ndim - dims
        if not 0 <= extra <= 2 or dims > 3:
            raise MetadataError(
                f"a gunpowder array of shape {array.data.shape} with a {dims}D roi has no known axes; "
                "expected up to three spatial axes, led by nothing, channels, or batch and channels"
            )
        axes = ["b", "c"][2 - extra :] + ["z", "y", "x"][3 - dims :]
        return cls.from_np_array(array.data, array.spec.roi, array.spec.voxel_size, axes)

    @classmethod
    def from_np_array(
        cls, array: np.ndarray[Any, Any], roi: Roi, voxel_size: Coordinate, axes: Sequence[str]
    ) -> NumpyArray:
        """Wrap a numpy array, without a copy.

        Args:
            array: The values.
            roi: Region of the values, in world units; its shape is the number of voxels times the voxel size.
            voxel_size: In world units, per spatial axis.
            axes: Name of each axis of ``array``. Leading batch and channel axes may be named although they are missing;
                they then have length 1, and voxels beyond the roi are dropped, with a `MetadataWarning`.

        Raises:
            MetadataError: If these do not match, the values have no data type, or no axes are given.
        """
        _require_values(array)
        if axes is None:
            raise MetadataError(
                f"axes is None for an array of shape {array.shape}; name each of them, for example ['z', 'y', 'x']"
            )
        instance = cls.__new__(cls)
        instance._data = array
        instance._roi = Roi(roi.offset, roi.shape)
        instance._voxel_size = Coordinate(voxel_size)
        instance._axes = axis_names(axes)
        instance._add_missing_axes()
        instance._check()
        return instance

    def _add_missing_axes(self) -> None:
        """Add missing leading axes with length 1, and drop the voxels beyond the roi."""
        given, missing = self._data.shape, len(self._axes) - self._data.ndim
        dims = len(spatial_axes_of(self._axes))
        fits = self._roi.dims == self._voxel_size.dims == dims
        if missing <= 0 or spatial_axes_of(self._axes[:missing]) or not fits:
            return
        voxels = iter(self._roi.shape / self._voxel_size)
        inside = tuple(slice(None if axis in NON_SPATIAL_AXES else next(voxels)) for axis in self._axes)
        self._data = self._data[(np.newaxis,) * missing][inside]
        warnings.warn(
            f"an array of shape {given} was given the axes {self._axes}; it is read as shape "
            f"{self._data.shape}, which covers the roi {self._roi}",
            MetadataWarning,
            stacklevel=3,
        )

    def _check(self) -> None:
        if len(self._axes) != self._data.ndim:
            raise MetadataError(f"{len(self._axes)} axes {self._axes} given for an array of shape {self._data.shape}")
        spatial = [n for axis, n in zip(self._axes, self._data.shape, strict=True) if axis in spatial_axes_of([axis])]
        dims = len(spatial)
        if not dims:
            raise MetadataError(f"none of the axes {self._axes} is spatial; name those of the roi")
        if self._roi.dims != dims or self._voxel_size.dims != dims:
            raise MetadataError(
                f"axes {self._axes} include {dims} spatial ones, but the roi is {self._roi} "
                f"and the voxel size {self._voxel_size}"
            )
        if self._roi.shape != self._voxel_size * Coordinate(spatial):
            raise MetadataError(
                f"an array of shape {self._data.shape} (axes {self._axes}) with voxel size {self._voxel_size} covers "
                f"{self._voxel_size * Coordinate(spatial)} world units, but the roi {self._roi} was given"
            )

    @property
    def attrs(self) -> dict[str, Any]:
        """Always empty."""
        return {}

    @property
    def axes(self) -> list[str]:
        return self._axes

    @property
    def dims(self) -> int:
        return self._roi.dims  # type: ignore[no-any-return]

    @property
    def voxel_size(self) -> Coordinate:
        return self._voxel_size

    @property
    def roi(self) -> Roi:
        return self._roi

    @property
    def writable(self) -> bool:
        """Whether the wrapped numpy array can be changed."""
        return bool(self._data.flags.writeable)

    @property
    def data(self) -> np.ndarray[Any, Any]:
        """The wrapped numpy array itself."""
        return self._data

    def __setitem__(self, roi: Roi, value: Any) -> None:
        """Set the values in a roi; changes the wrapped array.

        Raises:
            RoiError: If the roi is not on the grid or extends outside.
            ReadOnlyError: If the wrapped array is read-only.
        """
        index = self.slices(roi)
        if not self.writable:
            raise ReadOnlyError(f"{self} cannot be written: its numpy array is read-only; wrap a copy of it")
        self._data[index] = value

    @property
    def dtype(self) -> np.dtype[Any]:
        return native_dtype(self._data.dtype)

    @property
    def num_channels(self) -> int:
        """Length of the channel axis.

        Raises:
            ValueError: If the array has no channel axis. Check ``array.channel_axis is None`` first if unsure.
        """
        axis = self.channel_axis
        if axis is None:
            raise ValueError("Array does not have a channel dimension.")
        return int(self._data.shape[axis])


def _require_values(values: Any) -> None:
    """Check that values are an array with a data type.

    Raises:
        MetadataError: If they are not an array, or Python objects.
    """
    dtype = getattr(values, "dtype", None)
    if not isinstance(dtype, np.dtype):
        raise MetadataError(
            f"got a {type(values).__name__} as values, which has no data type; expected a numpy array; use "
            "np.asarray(values)"
        )
    if dtype.hasobject:
        raise MetadataError(f"got values of type {dtype}, which are Python objects; convert them to a numeric type")
