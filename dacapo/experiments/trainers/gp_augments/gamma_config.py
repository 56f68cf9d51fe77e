"""Random changes of contrast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from dacapo.experiments.config import field
from dacapo.utils.field_types import as_tuple

from ..torch_augments import Change, Gamma, SampleRois
from .augment_config import AugmentConfig, range_problem

if TYPE_CHECKING:
    import gunpowder as gp
    import numpy as np


@attrs.define
class GammaAugmentConfig(AugmentConfig):
    """Raise raw values to a random power, between their smallest and largest value."""

    gamma_range: tuple[float, float] = field("Smallest and largest power; 1 changes nothing.", converter=as_tuple)

    def problem(self) -> str | None:
        """Return what is wrong with the values, or None."""
        if min(self.gamma_range) <= 0:
            return f"gamma_range is {self.gamma_range}, but powers must be above 0"
        return range_problem("gamma_range", self.gamma_range)

    def node(
        self, raw_key: gp.ArrayKey, _gt_key: gp.ArrayKey | None = None, _mask_key: gp.ArrayKey | None = None
    ) -> Any:
        """Return the node, which acts on the raw data."""
        from dacapo.gp import GammaAugment

        return GammaAugment([raw_key], gamma_min=self.gamma_range[0], gamma_max=self.gamma_range[1])

    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        """Draw the change of one sample, which acts on the raw data."""
        return Gamma(wanted, rng.uniform(*self.gamma_range))
