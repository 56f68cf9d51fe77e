"""Random changes of contrast and brightness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from dacapo.experiments.config import field
from dacapo.utils.field_types import as_tuple

from ..torch_augments import Change, Intensity, SampleRois
from .augment_config import AugmentConfig, range_problem

if TYPE_CHECKING:
    import gunpowder as gp
    import numpy as np


@attrs.define
class IntensityAugmentConfig(AugmentConfig):
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

    def node(
        self, raw_key: gp.ArrayKey, _gt_key: gp.ArrayKey | None = None, _mask_key: gp.ArrayKey | None = None
    ) -> Any:
        """Return the node, which acts on the raw data."""
        from dacapo.gp.intensity_augment import IntensityAugment

        return IntensityAugment(
            raw_key,
            scale_min=self.scale[0],
            scale_max=self.scale[1],
            shift_min=self.shift[0],
            shift_max=self.shift[1],
            clip=self.clip,
        )

    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        """Draw the change of one sample, which acts on the raw data."""
        return Intensity(wanted, rng.uniform(*self.scale), rng.uniform(*self.shift), self.clip)
