"""Random changes of contrast."""

from __future__ import annotations

from collections.abc import Sequence

import gunpowder as gp
import numpy as np

from dacapo.errors import DtypeError


class GammaAugment(gp.BatchFilter):  # type: ignore[misc]
    """Raise values to a random power, between the smallest and the largest value of each array.

    Values are scaled to 0..1, raised to the power and scaled back, so smallest and largest value stay. An array of
    one value is left alone.
    """

    def __init__(self, arrays: Sequence[gp.ArrayKey], gamma_min: float, gamma_max: float) -> None:
        """Set the arrays, which must be of a floating point type, and the range of powers."""
        self.arrays = list(arrays)
        self.gamma_min = gamma_min
        self.gamma_max = gamma_max

    def setup(self) -> None:
        """Announce that the arrays change."""
        self.enable_autoskip()
        for key in self.arrays:
            self.updates(key, self.spec[key])

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> None:
        """Draw one power and apply it to all arrays."""
        gamma = np.random.uniform(self.gamma_min, self.gamma_max)
        for key in self.arrays:
            if key not in batch:
                continue
            array = batch[key]
            if not np.issubdtype(array.data.dtype, np.floating):
                raise DtypeError(
                    f"{key} has type {array.data.dtype}; only floating point values can be raised to a power"
                )
            low, high = array.data.min(), array.data.max()
            if high > low:
                scaled = (array.data - low) / (high - low)
                array.data = (scaled**gamma * (high - low) + low).astype(array.data.dtype)
