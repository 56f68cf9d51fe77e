"""The interface of augmentations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import attrs

from dacapo.experiments.config import Config

if TYPE_CHECKING:
    import gunpowder as gp
    import numpy.typing as npt


@attrs.define
class AugmentConfig(Config, ABC):
    """Base of the configs of augmentations."""

    @abstractmethod
    def node(self, raw_key: gp.ArrayKey, gt_key: gp.ArrayKey, mask_key: gp.ArrayKey) -> Any:
        """Return a gunpowder node that changes samples.

        Args:
            raw_key: Key of the raw data, of type float32.
            gt_key: Key of the ground truth.
            mask_key: Key of the mask. Changes of geometry must act on all three alike.
        """
        raise NotImplementedError

    def problem(self) -> str | None:
        """Return what is wrong with the values, or None."""
        return None

    def verify(self) -> tuple[bool, str]:
        """Check that the values can work."""
        problem = self.problem()
        return (False, problem) if problem is not None else Config.verify(self)

    def at_prediction(self, raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return raw values after what this does to every sample alike; a network has to see that in prediction too.

        Args:
            raw: Values as the raw array gives them, any axes.
        """
        return raw


def range_problem(name: str, limits: tuple[float, float]) -> str | None:
    """Return what is wrong with a smallest and a largest value, or None."""
    low, high = limits
    return None if low <= high else f"{name} is {limits}, but the smallest value comes first"
