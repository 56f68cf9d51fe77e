"""A small made-up array, for trying things out."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from .array import Array, ArrayConfig

SHAPE = Coordinate(100, 50, 50)
VOXEL_SIZE = Coordinate(1, 2, 2)


class DummyArray(Array):
    """A 3D array in memory of 100 x 50 x 50 voxels of 1 x 2 x 2 world units.

    The values are float32, and 0 until they are set.
    """

    def __init__(self, array_config: ArrayConfig) -> None:
        self.name = array_config.name
        self._data: np.ndarray[Any, Any] = np.zeros(SHAPE, dtype=np.float32)

    @property
    def attrs(self) -> dict[str, Any]:
        return {}

    @property
    def axes(self) -> list[str]:
        return ["z", "y", "x"]

    @property
    def dims(self) -> int:
        return 3

    @property
    def voxel_size(self) -> Coordinate:
        return VOXEL_SIZE

    @property
    def roi(self) -> Roi:
        return Roi((0, 0, 0), SHAPE * VOXEL_SIZE)

    @property
    def writable(self) -> bool:
        return True

    @property
    def data(self) -> np.ndarray[Any, Any]:
        return self._data

    def __setitem__(self, roi: Roi, value: Any) -> None:
        """Set the values in a roi, in memory only."""
        self._data[self.slices(roi)] = value

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self._data.dtype
        return dtype

    @property
    def num_channels(self) -> None:
        return None


@attrs.define
class DummyArrayConfig(ArrayConfig):
    """Config of a small made-up array; it has no options."""

    array_type: ClassVar[type[DummyArray]] = DummyArray
    is_as_stored: ClassVar[bool] = True

    def verify(self) -> tuple[bool, str]:
        """Refuse the config: made-up data is not suitable for experiments."""
        return False, f"array {self.name!r} is a DummyArrayConfig, made-up data that is never valid for an experiment"
