"""A mask that is true everywhere."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np
from funlib.geometry import Roi

from dacapo.experiments.config import field

from .array import Array, ArrayConfig
from .view import ArrayView, build


class OnesArray(ArrayView):
    """True for each voxel of a source array (bool); reads nothing from the source."""

    def __init__(self, array_config: OnesArrayConfig) -> None:
        super().__init__(array_config.name, [build(array_config.source_array_config)])

    @classmethod
    def like(cls, array: Array) -> OnesArray:
        """Return ones for each voxel of an array."""
        instance = cls.__new__(cls)
        ArrayView.__init__(instance, f"ones like {array.name}", [array])
        return instance

    @property
    def source_array(self) -> Array:
        """The array that provides the voxel grid."""
        return self._source

    @property
    def attrs(self) -> dict[str, Any]:
        """Always empty."""
        return {}

    @property
    def is_stored(self) -> bool:
        """Always false: nothing is read."""
        return False

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(bool)

    def _read(self, roi: Roi) -> np.ndarray[Any, Any]:
        sizes = iter(roi.shape / self.voxel_size)
        shape = [(self.num_channels or 1) if axis in ("b", "c") else int(next(sizes)) for axis in self.axes]
        return np.ones(shape, dtype=bool)


@attrs.define
class OnesArrayConfig(ArrayConfig):
    """Config of a mask that is true everywhere."""

    array_type: ClassVar[type[OnesArray]] = OnesArray

    source_array_config: ArrayConfig = field("The array whose voxel grid the mask covers.")
