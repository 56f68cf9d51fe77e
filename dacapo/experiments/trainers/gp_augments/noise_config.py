"""Noise on raw data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import torch

from dacapo.errors import TrainingError
from dacapo.experiments.config import field

from .augment_config import ValueAugmentConfig
from .change import Change, SampleRois, value_range

if TYPE_CHECKING:
    import numpy as np


@attrs.define
class Noise(Change):
    """Normally distributed noise.

    Attributes:
        deviation: Its standard deviation.
        seed: Seed of its generator, which is on the device of the values.
        clip: Whether to keep values between 0 and 1, or -1 and 1 if some are negative.
    """

    deviation: float
    seed: int
    clip: bool

    def raw(self, values: torch.Tensor) -> torch.Tensor:
        """Add noise.

        Raises:
            TrainingError: If values are clipped to a range, but lie outside.
        """
        low = 0.0
        if self.clip:
            smallest, largest = value_range(values)
            if not (smallest >= -1 and largest <= 1):
                raise TrainingError(
                    f"raw values go from {smallest:g} to {largest:g}, but NoiseAugmentConfig keeps them between -1 and "
                    "1; bring them there with an IntensitiesArrayConfig around the raw array, or set clip to false"
                )
            low = -1.0 if smallest < 0 else 0.0
        generator = torch.Generator(device=values.device).manual_seed(self.seed)
        noise = torch.randn(values.shape, generator=generator, device=values.device)
        values = noise.mul_(self.deviation).add_(values)
        return values.clamp_(low, 1.0) if self.clip else values


@attrs.define
class NoiseAugmentConfig(ValueAugmentConfig):
    """Add normally distributed noise to raw values."""

    variance: float = field("Variance of the noise.", default=0.01)
    clip: bool = field(
        "Keep values between 0 and 1 (or -1 and 1, if some are negative), where they must lie.", default=True
    )

    def problem(self) -> str | None:
        """Return what is wrong with the values, or None."""
        return None if self.variance >= 0 else f"variance is {self.variance}, but cannot be negative"

    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        """Draw the change of one sample, which acts on the raw data."""
        return Noise(wanted, math.sqrt(self.variance), int(rng.integers(2**32)), self.clip)
