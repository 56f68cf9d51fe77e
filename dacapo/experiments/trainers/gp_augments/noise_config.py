"""Noise on raw data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

from dacapo.experiments.config import field

from ..torch_augments import Change, Noise, SampleRois
from .augment_config import AugmentConfig

if TYPE_CHECKING:
    import gunpowder as gp
    import numpy as np


@attrs.define
class NoiseAugmentConfig(AugmentConfig):
    """Add normally distributed noise to raw values."""

    variance: float = field("Variance of the noise.", default=0.01)
    clip: bool = field(
        "Keep values between 0 and 1 (or -1 and 1, if some are negative), where they must lie.", default=True
    )

    def problem(self) -> str | None:
        """Return what is wrong with the values, or None."""
        return None if self.variance >= 0 else f"variance is {self.variance}, but cannot be negative"

    def node(
        self, raw_key: gp.ArrayKey, _gt_key: gp.ArrayKey | None = None, _mask_key: gp.ArrayKey | None = None
    ) -> Any:
        """Return the node, which acts on the raw data."""
        import gunpowder as gp

        return gp.NoiseAugment(raw_key, mode="gaussian", clip=self.clip, var=self.variance)

    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        """Draw the change of one sample, which acts on the raw data."""
        return Noise(wanted, math.sqrt(self.variance), int(rng.integers(2**32)), self.clip)
