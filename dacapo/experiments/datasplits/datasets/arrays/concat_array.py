"""Several arrays as the channels of one."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np

from dacapo.errors import ConfigError, DtypeError
from dacapo.experiments.config import field

from .array import Array, ArrayConfig
from .view import ChannelView, build_all


class ConcatArray(ChannelView):
    """One channel per name, in the order of ``channels``.

    A channel without a source is filled from the default array, or with zeros. The roi is the intersection of all
    sources; the data type can hold the values of all of them.
    """

    def __init__(self, array_config: ConcatArrayConfig) -> None:
        """Build the sources.

        Raises:
            ConfigError: If a source is for an unlisted channel, or sources do not match.
            DtypeError: If no integer type can hold all labels.
        """
        configs = array_config.source_array_configs
        unused = sorted(set(configs) - set(array_config.channels))
        if unused:
            raise ConfigError(
                f"array {array_config.name!r}: sources {unused} belong to none of the channels {array_config.channels}"
            )
        default = array_config.default_config
        sources = build_all([*configs.values(), *([] if default is None else [default])])
        self._by_channel = dict(zip(configs, sources, strict=False))
        self._default = None if default is None else sources[-1]
        super().__init__(array_config.name, sources, array_config.channels)
        self._dtype: np.dtype[Any] = np.result_type(*(source.dtype for source in sources))
        if self._dtype.kind == "f" and all(source.dtype.kind in "biu" for source in sources):
            kinds = ", ".join(str(source.dtype) for source in sources)
            raise DtypeError(f"{self}: no integer type holds {kinds}; store the sources with the same type")

    @property
    def source_arrays(self) -> dict[str, Array]:
        """The source of each channel that has one."""
        return dict(self._by_channel)

    @property
    def source_array(self) -> Array:
        """The first source, which provides the other properties of the view."""
        return self._source

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    def _compute(self, *values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        by_channel = dict(zip(self._by_channel, values, strict=False))
        result = np.zeros((len(self._channels), *values[0].shape), dtype=self._dtype)
        for target, channel in zip(result, self._channels, strict=True):
            if channel in by_channel:
                target[...] = by_channel[channel]
            elif self._default is not None:
                target[...] = values[-1]
        return result


@attrs.define
class ConcatArrayConfig(ArrayConfig):
    """Config of several arrays as the channels of one."""

    array_type: ClassVar[type[ConcatArray]] = ConcatArray

    channels: list[str] = field("Names of the channels, in order.")
    source_array_configs: dict[str, ArrayConfig] = field("The array of each channel, by its name.")
    default_config: ArrayConfig | None = field(
        "The array for channels without one; by default they are zero.", default=None
    )
