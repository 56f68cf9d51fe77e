"""The sum of several arrays."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np

from dacapo.errors import ConfigError
from dacapo.experiments.config import field

from .array import ArrayConfig
from .view import VoxelwiseView, build_all


class SumArray(VoxelwiseView):
    """The sum of the sources, voxel by voxel and channel by channel.

    Integers are summed in 64 bits, so that small types do not overflow.
    """

    def __init__(self, array_config: SumArrayConfig) -> None:
        """Build the sources.

        Raises:
            ConfigError: If the sources do not match, including their axes and channels.
        """
        super().__init__(array_config.name, build_all(array_config.source_array_configs))
        for source in self._sources:
            channels = source.num_channels if source.channel_axis is not None else None
            if source.axes != self._source.axes or channels != self.num_channels:
                raise ConfigError(
                    f"{self}: {self._source} has the axes {self._source.axes} and {self.num_channels} channels, "
                    f"{source} has {source.axes} and {channels}; they must be equal"
                )
        common = np.result_type(*(source.dtype for source in self._sources))
        self._dtype: np.dtype[Any] = np.zeros(0, dtype=common).sum().dtype

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    def _compute(self, *values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        total = values[0].astype(self._dtype)
        for other in values[1:]:
            total += other.astype(self._dtype)
        return total


@attrs.define
class SumArrayConfig(ArrayConfig):
    """Config of the sum of several arrays."""

    array_type: ClassVar[type[SumArray]] = SumArray

    source_array_configs: list[ArrayConfig] = field("The arrays to add.")
