"""Random changes of contrast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch

from dacapo.experiments.config import field
from dacapo.utils.field_types import as_tuple

from .augment_config import ValueAugmentConfig, range_problem
from .change import Change, SampleRois, value_range

if TYPE_CHECKING:
    import numpy as np


@attrs.define
class Gamma(Change):
    """A power of the values, between the smallest and the largest of them."""

    gamma: float

    def raw(self, values: torch.Tensor) -> torch.Tensor:
        """Raise the values to the power."""
        return raise_to_power(values, self.gamma)


def raise_to_power(values: torch.Tensor, gamma: float) -> torch.Tensor:
    """Scale values to 0..1, raise them to a power and scale them back, in place; a single value stays as it is."""
    low, high = value_range(values)
    if not high > low:
        return values
    return values.sub_(low).div_(high - low).clamp_(min=0).pow_(gamma).mul_(high - low).add_(low)


@attrs.define
class GammaAugmentConfig(ValueAugmentConfig):
    """Raise raw values to a random power, between their smallest and largest value."""

    gamma_range: tuple[float, float] = field("Smallest and largest power; 1 changes nothing.", converter=as_tuple)

    def problem(self) -> str | None:
        """Return what is wrong with the values, or None."""
        if min(self.gamma_range) <= 0:
            return f"gamma_range is {self.gamma_range}, but powers must be above 0"
        return range_problem("gamma_range", self.gamma_range)

    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        """Draw the change of one sample, which acts on the raw data."""
        return Gamma(wanted, rng.uniform(*self.gamma_range))
