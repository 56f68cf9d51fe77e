"""Binary masks of label classes."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np

from dacapo.errors import ConfigError
from dacapo.experiments.config import field

from .array import ArrayConfig
from .view import ChannelView, build


class BinarizeArray(ChannelView):
    """One channel per group of label ids: 1 where the label belongs to the group, else 0 (uint8).

    A group without ids contains everything except the background.
    """

    def __init__(self, array_config: BinarizeArrayConfig) -> None:
        """Build the source.

        Raises:
            ConfigError: If no groups are given, or the source has several channels.
        """
        groupings = array_config.groupings
        super().__init__(array_config.name, [build(array_config.source_array_config)], [name for name, _ in groupings])
        if self._source.dtype.kind not in "biu":
            raise ConfigError(f"{self}: {self._source} has data type {self._source.dtype}; expected integer labels")
        self._ids = [list(ids) for _, ids in groupings]
        self._background = array_config.background

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8)

    def _compute(self, *values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        labels = values[0]
        result = np.empty((len(self._ids), *labels.shape), dtype=np.uint8)
        for channel, ids in zip(result, self._ids, strict=True):
            channel[...] = np.isin(labels, ids) if ids else labels != self._background
        return result


@attrs.define
class BinarizeArrayConfig(ArrayConfig):
    """Config of binary masks of label classes."""

    array_type: ClassVar[type[BinarizeArray]] = BinarizeArray

    source_array_config: ArrayConfig = field("The array of labels.")
    groupings: list[tuple[str, list[int]]] = field(
        "Pairs of a channel's name and its label ids; an empty list means all but the background."
    )
    background: int = field("The id of the background.", default=0)
