"""Raw values scaled to a common range."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np

from dacapo.errors import ConfigError
from dacapo.experiments.config import field

from .array import ArrayConfig
from .view import VoxelwiseView, build


class IntensitiesArray(VoxelwiseView):
    """Values as float32, scaled so that ``min`` maps to 0 and ``max`` to 1; values outside are not clipped."""

    def __init__(self, array_config: IntensitiesArrayConfig) -> None:
        """Build the source.

        Raises:
            ConfigError: If ``max`` is not above ``min``.
        """
        super().__init__(array_config.name, [build(array_config.source_array_config)])
        self._min, self._max = array_config.min, array_config.max
        if not self._min < self._max:
            raise ConfigError(f"{self}: min is {self._min}, max is {self._max}; max must be above min")

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    def _compute(self, *values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        scaled = values[0].astype(np.float32)
        scaled -= np.float32(self._min)
        scaled /= np.float32(self._max - self._min)
        return scaled


@attrs.define
class IntensitiesArrayConfig(ArrayConfig):
    """Config of raw values scaled to a common range."""

    array_type: ClassVar[type[IntensitiesArray]] = IntensitiesArray

    source_array_config: ArrayConfig = field("The array of raw values.")
    min: float = field("The value that maps to 0.")
    max: float = field("The value that maps to 1.")
