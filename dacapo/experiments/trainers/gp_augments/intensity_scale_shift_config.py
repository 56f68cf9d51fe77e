"""A fixed change of the range of values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dacapo.experiments.config import field

from ..torch_augments import Change, SampleRois, ScaleShift
from .augment_config import AugmentConfig

if TYPE_CHECKING:
    import gunpowder as gp
    import numpy.typing as npt


@attrs.define
class IntensityScaleShiftAugmentConfig(AugmentConfig):
    """Multiply raw values and add to them, by fixed amounts; to get from 0..1 to -1..1, for example."""

    scale: float = field("What values are multiplied with.")
    shift: float = field("What is added afterwards.")

    def node(
        self, raw_key: gp.ArrayKey, _gt_key: gp.ArrayKey | None = None, _mask_key: gp.ArrayKey | None = None
    ) -> Any:
        """Return the node, which acts on the raw data."""
        import gunpowder as gp

        return gp.IntensityScaleShift(raw_key, self.scale, self.shift)

    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        """Draw the change of one sample, which acts on the raw data, always alike."""
        return ScaleShift(wanted, self.scale, self.shift)

    def at_prediction(self, raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the changed values as float32: nothing here is left to chance."""
        return raw.astype(np.float32) * np.float32(self.scale) + np.float32(self.shift)
