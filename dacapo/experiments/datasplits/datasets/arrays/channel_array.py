"""One channel of an array."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np

from dacapo.errors import ChannelMismatchError
from dacapo.experiments.config import field
from dacapo.utils.wording import in_channels

from .array import ArrayConfig
from .view import VoxelwiseView, build


class ChannelArray(VoxelwiseView):
    """One channel of an array, without channel axis."""

    def __init__(self, array_config: ChannelArrayConfig) -> None:
        """Build the source.

        Raises:
            ChannelMismatchError: If the channel does not exist.
        """
        super().__init__(array_config.name, [build(array_config.source_array_config)])
        self._channel = array_config.channel
        count = 0 if self._source.channel_axis is None else int(self._source.num_channels or 0)
        if not 0 <= self._channel < count:
            raise ChannelMismatchError(
                f"{self}: {self._channel} is not a channel of {self._source}, which has {in_channels(count)}, "
                "counted from 0"
            )

    @property
    def axes(self) -> list[str]:
        return [axis for axis in self._source.axes if axis != "c"]

    @property
    def num_channels(self) -> None:
        return None

    def _compute(self, *values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(values[0].take(self._channel, axis=self._source.channel_axis))


@attrs.define
class ChannelArrayConfig(ArrayConfig):
    """Config of one channel of an array."""

    array_type: ClassVar[type[ChannelArray]] = ChannelArray

    source_array_config: ArrayConfig = field("The array with channels.")
    channel: int = field("Index of the channel, counted from 0.")
