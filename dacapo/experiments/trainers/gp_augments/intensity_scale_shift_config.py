"""A fixed change of the range of values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch

from dacapo.experiments.config import field

from .augment_config import ValueAugmentConfig
from .change import Change, SampleRois

if TYPE_CHECKING:
    import numpy.typing as npt


@attrs.define
class ScaleShift(Change):
    """Values multiplied with a number, and a number added."""

    scale: float
    shift: float

    def raw(self, values: torch.Tensor) -> torch.Tensor:
        """Change the values."""
        return values.mul_(self.scale).add_(self.shift)


@attrs.define
class IntensityScaleShiftAugmentConfig(ValueAugmentConfig):
    """Multiply raw values and add to them, by fixed amounts; to get from 0..1 to -1..1, for example."""

    scale: float = field("What values are multiplied with.")
    shift: float = field("What is added afterwards.")

    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        """Draw the change of one sample, which acts on the raw data, always alike."""
        return ScaleShift(wanted, self.scale, self.shift)

    def at_prediction(self, raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the changed values as float32: nothing here is left to chance."""
        return raw.astype(np.float32) * np.float32(self.scale) + np.float32(self.shift)
