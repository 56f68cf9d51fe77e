"""Random changes of contrast."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import gunpowder as gp
import numpy as np

from dacapo.errors import DtypeError
from dacapo.experiments.trainers.gp_augments.gamma_config import raise_to_power

from .apply_change import change_values


class GammaAugment(gp.BatchFilter):  # type: ignore[misc]
    """Raise the values of some arrays to one random power, between the smallest and the largest value of each.

    This is the change of a ``GammaAugmentConfig``, for any number of arrays.
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
        """Draw one power and apply it to all arrays.

        Raises:
            DtypeError: If an array is not of a floating point type.
        """
        change = partial(raise_to_power, gamma=np.random.uniform(self.gamma_min, self.gamma_max))
        for key in self.arrays:
            if key not in batch:
                continue
            array = batch[key]
            if not np.issubdtype(array.data.dtype, np.floating):
                raise DtypeError(
                    f"{key} has type {array.data.dtype}; only floating point values can be raised to a power"
                )
            array.data = change_values(change, array.data, array.spec.roi.dims)
