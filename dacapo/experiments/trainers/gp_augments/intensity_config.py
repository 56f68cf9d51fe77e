"""Random changes of contrast and brightness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch

from dacapo.errors import TrainingError
from dacapo.experiments.config import field
from dacapo.utils.field_types import as_tuple

from .augment_config import ValueAugmentConfig, range_problem
from .change import Change, SampleRois, value_range

if TYPE_CHECKING:
    import numpy as np


@attrs.define
class Intensity(Change):
    """Values scaled around their mean and shifted."""

    scale: float
    shift: float
    clip: bool

    def raw(self, values: torch.Tensor) -> torch.Tensor:
        """Change the values.

        Raises:
            TrainingError: If values are clipped to 0 and 1, but lie outside.
        """
        if self.clip:
            low, high = value_range(values)
            if not (low >= 0 and high <= 1):
                raise TrainingError(
                    f"raw values go from {low:g} to {high:g}, but IntensityAugmentConfig keeps them between 0 and 1; "
                    "bring them there with an IntensitiesArrayConfig around the raw array, or set clip to false"
                )
        mean = values.mean()
        values = values.sub_(mean).mul_(self.scale).add_(mean + self.shift)
        return values.clamp_(0.0, 1.0) if self.clip else values


@attrs.define
class IntensityAugmentConfig(ValueAugmentConfig):
    """Scale raw values around their mean and shift them, by random amounts."""

    scale: tuple[float, float] = field("Smallest and largest factor.", converter=as_tuple)
    shift: tuple[float, float] = field("Smallest and largest shift.", converter=as_tuple)
    clip: bool = field(
        "Keep values between 0 and 1; the raw data must lie there, for example through an IntensitiesArrayConfig.",
        default=True,
    )

    def problem(self) -> str | None:
        """Return what is wrong with the values, or None."""
        return range_problem("scale", self.scale) or range_problem("shift", self.shift)

    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        """Draw the change of one sample, which acts on the raw data."""
        return Intensity(wanted, rng.uniform(*self.scale), rng.uniform(*self.shift), self.clip)
