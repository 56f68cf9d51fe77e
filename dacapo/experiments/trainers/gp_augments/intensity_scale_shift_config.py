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
    """Scaled and shifted values."""

    scale: float
    shift: float

    def raw(self, values: torch.Tensor) -> torch.Tensor:
        """Change the values."""
        return values.mul_(self.scale).add_(self.shift)


@attrs.define
class IntensityScaleShiftAugmentConfig(ValueAugmentConfig):
    """Scale and shift raw values by fixed amounts, for example from 0..1 to -1..1."""

    scale: float = field("Factor of the values.")
    shift: float = field("Summand, added afterwards.")

    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        """Return the change of raw data, the same for every sample."""
        return ScaleShift(wanted, self.scale, self.shift)

    def at_prediction(self, raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the changed values as float32, since nothing here is random."""
        return raw.astype(np.float32) * np.float32(self.scale) + np.float32(self.shift)
