"""Comparison of instance segmentations by the variation of information."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from dacapo.experiments.tasks.evaluators.evaluator import Criterion, EvaluationScores, Evaluator, lookup

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets.arrays import Array
    from dacapo.store.array_store import LocalArrayIdentifier

CRITERIA = {
    "voi_split": Criterion(higher_is_better=False, bounds=(0.0, math.inf), store_best=True),
    "voi_merge": Criterion(higher_is_better=False, bounds=(0.0, math.inf), store_best=True),
    "voi": Criterion(higher_is_better=False, bounds=(0.0, math.inf), store_best=True),
}


@attrs.define
class InstanceEvaluationScores(EvaluationScores):
    """Hold the variation of information between a segmentation and the truth, in bits.

    It has no upper bound that would not depend on the volume.

    Attributes:
        voi_split: What is missing to know the segment where the true object is known: objects cut apart.
        voi_merge: What is missing to know the true object where the segment is known: objects run together.
    """

    criteria = list(CRITERIA)

    voi_split: float = attrs.field(default=float("nan"))
    voi_merge: float = attrs.field(default=float("nan"))

    @property
    def voi(self) -> float:
        """The variation of information: split plus merge, as Meila defines it (not their mean)."""
        return self.voi_split + self.voi_merge

    @staticmethod
    def higher_is_better(criterion: str) -> bool:
        """Return whether a higher value is better: never."""
        return lookup(CRITERIA, criterion).higher_is_better

    @staticmethod
    def bounds(criterion: str) -> tuple[float, float]:
        """Return the lowest and the highest possible value."""
        return lookup(CRITERIA, criterion).bounds

    @staticmethod
    def store_best(criterion: str) -> bool:
        """Return whether the weights with the best value are worth keeping."""
        return lookup(CRITERIA, criterion).store_best
