"""The union of all channels as one mask."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np

from dacapo.experiments.config import field

from .array import ArrayConfig
from .view import VoxelwiseView, build


class LogicalOrArray(VoxelwiseView):
    """1 where any channel of the source is not 0, else 0 (uint8), without channel axis."""

    def __init__(self, array_config: LogicalOrArrayConfig) -> None:
        super().__init__(array_config.name, [build(array_config.source_array_config)])

    @property
    def axes(self) -> list[str]:
        return [axis for axis in self._source.axes if axis != "c"]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8)

    @property
    def num_channels(self) -> None:
        return None

    def _compute(self, *values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        axis = self._source.channel_axis
        mask = values[0] != 0
        result: np.ndarray[Any, Any] = (mask if axis is None else mask.any(axis=axis)).astype(np.uint8)
        return result


@attrs.define
class LogicalOrArrayConfig(ArrayConfig):
    """Config of the union of all channels as one mask."""

    array_type: ClassVar[type[LogicalOrArray]] = LogicalOrArray

    source_array_config: ArrayConfig = field("The array of masks.")
