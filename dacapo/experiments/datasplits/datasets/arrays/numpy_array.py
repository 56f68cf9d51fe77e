"""An array in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import MetadataError
from dacapo.utils.byte_order import native_dtype

from .array import Array
from .axes import axis_names, spatial_axes_of

if TYPE_CHECKING:
    import gunpowder as gp


class NumpyArray(Array):
    """A numpy array with a place in the world.

    Made by :meth:`from_np_array` or :meth:`from_gp_array`; there is no config for it, since values in memory have no
    place in a config.
    """

    _data: np.ndarray[Any, Any]
    _roi: Roi
    _voxel_size: Coordinate
    _axes: list[str]

    def __init__(self, array_config: Any) -> None:
        raise TypeError("a NumpyArray has no config; use NumpyArray.from_np_array(array, roi, voxel_size, axes)")

    @classmethod
    def from_gp_array(cls, array: gp.Array) -> NumpyArray:
        """Wrap a gunpowder array; leading axes beyond the spatial ones are channels, or batch and channels."""
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
            roi: Where they lie, in world units; its shape is the number of voxels times the voxel size.
            voxel_size: In world units, per spatial axis.
            axes: Name of each axis of ``array``.

        Raises:
            MetadataError: If these do not fit together.
        """
        instance = cls.__new__(cls)
        instance._data = array
        instance._roi = Roi(roi.offset, roi.shape)
        instance._voxel_size = Coordinate(voxel_size)
        instance._axes = axis_names(axes)
        instance._check()
        return instance

    def _check(self) -> None:
        if len(self._axes) != self._data.ndim:
            raise MetadataError(f"{len(self._axes)} axes {self._axes} given for an array of shape {self._data.shape}")
        spatial = [n for axis, n in zip(self._axes, self._data.shape, strict=True) if axis in spatial_axes_of([axis])]
        dims = len(spatial)
        if self._roi.dims != dims or self._voxel_size.dims != dims:
            raise MetadataError(
                f"axes {self._axes} have {dims} spatial ones, but the roi is {self._roi} "
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
        """Always true: the values are in memory."""
        return True

    @property
    def data(self) -> np.ndarray[Any, Any]:
        """The wrapped numpy array itself."""
        return self._data

    def __setitem__(self, roi: Roi, value: Any) -> None:
        """Set the values in a roi; changes the wrapped array.

        Raises:
            RoiError: If the roi is not on the grid or reaches outside.
        """
        self._data[self.slices(roi)] = value

    @property
    def dtype(self) -> np.dtype[Any]:
        return native_dtype(self._data.dtype)

    @property
    def num_channels(self) -> int:
        """Length of the channel axis.

        Raises:
            ValueError: If there is no channel axis. Ask ``array.channel_axis is None`` first where that may be.
        """
        axis = self.channel_axis
        if axis is None:
            raise ValueError(f"array with axes {self._axes} does not have a channel dimension")
        return int(self._data.shape[axis])
