"""The change of raw values before the network, as one multiplication and one addition."""

from __future__ import annotations

import attrs
import numpy as np

from dacapo.errors import ConfigError
from dacapo.experiments.config import configs_inside
from dacapo.experiments.datasplits.datasets.arrays import (
    ArrayConfig,
    ChannelArrayConfig,
    CropArrayConfig,
    IntensitiesArrayConfig,
    SelectArrayConfig,
)
from dacapo.experiments.trained_model import TrainedModel
from dacapo.inference.raw_chain import raw_configs

_PLACES = (CropArrayConfig, SelectArrayConfig, ChannelArrayConfig)  # they change no values
_PROBES = np.array([0.0, 1.0, 2.0, 100.0], dtype=np.float32)


@attrs.frozen
class Normalization:
    """Raw values are multiplied by ``gain``, then ``offset`` is added."""

    gain: float = 1.0
    offset: float = 0.0

    def after(self, first: Normalization) -> Normalization:
        """Return the change that applies another one first."""
        return Normalization(self.gain * first.gain, self.gain * first.offset + self.offset)


def normalization_of(trained: TrainedModel) -> Normalization:
    """Return how a run changes raw values before its network sees them.

    Raises:
        ConfigError: If it changes them in another way, or its datasets in different ways.
    """
    found = {_of_config(config) for config in raw_configs(trained.config.datasplit_config)} or {Normalization()}
    if len(found) > 1:
        raise ConfigError(
            f"the datasets of run {trained.name!r} change raw values in different ways ({', '.join(map(str, found))}), "
            "so an exported model cannot say how to change those of an image"
        )
    changed = trained.prepare_input(_PROBES)
    own = Normalization(float(changed[1] - changed[0]), float(changed[0]))
    if changed.shape != _PROBES.shape or not np.allclose(changed, own.gain * _PROBES + own.offset, rtol=1e-5):
        raise ConfigError(
            f"the trainer of run {trained.name!r} changes raw values in a way that no multiplication and addition "
            "describes, so the model cannot be exported; scale them in the raw_config"
        )
    return own.after(found.pop())


def _of_config(config: ArrayConfig) -> Normalization:
    if isinstance(config, IntensitiesArrayConfig):
        extent = config.max - config.min
        return Normalization(1 / extent, -config.min / extent).after(_of_config(config.source_array_config))
    if isinstance(config, _PLACES):
        return _of_config(config.source_array_config)
    if any(isinstance(inner, ArrayConfig) for _, inner in configs_inside(config)) or not config.is_as_stored:
        raise ConfigError(
            f"raw data is changed by {type(config).__name__} {config.name!r}, which other programs do not know, so the "
            "model cannot be exported; train on raw data that is stored in the form that the network gets, up to its "
            "range"
        )
    return Normalization()
