"""An evaluator for trying out the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.experiments.tasks.evaluators.evaluator import Criterion, Evaluator, TabulatedScores
from dacapo.experiments.tasks.evaluators.volumes import Volumes

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier

CRITERIA = {
    "frizz_level": Criterion(higher_is_better=True, bounds=(0.0, 1.0), store_best=True),
    "blipp_score": Criterion(higher_is_better=False, bounds=(0.0, 1.0)),
}

BLOCK_VOXELS = 1 << 24


@attrs.define
class DummyEvaluationScores(TabulatedScores):
    """Hold two scores without much meaning.

    Attributes:
        frizz_level: Fraction of the output that is not background.
        blipp_score: Fraction of the output that is background.
    """

    table = CRITERIA
    criteria = list(CRITERIA)

    frizz_level: float = attrs.field(default=float("nan"))
    blipp_score: float = attrs.field(default=float("nan"))


class DummyEvaluator(Evaluator):
    """Score the fraction of the output that is not background, regardless of the truth."""

    table = CRITERIA
    criteria = list(CRITERIA)

    def evaluate(
        self,
        output_array_identifier: LocalArrayIdentifier,
        evaluation_dataset: Array,
    ) -> DummyEvaluationScores:
        """Score the array stored under an identifier; the ground truth is ignored."""
        output = ZarrArray.open_from_array_identifier(output_array_identifier, mode="r")
        volume = Volumes(output, output, None, output.roi)
        blocks, _ = volume.blocks(BLOCK_VOXELS)
        foreground = size = 0
        for block in blocks:
            values = output[block]
            foreground, size = foreground + int(np.count_nonzero(values)), size + values.size
        fraction = foreground / size
        return DummyEvaluationScores(frizz_level=fraction, blipp_score=1.0 - fraction)

    @property
    def score(self) -> DummyEvaluationScores:
        return DummyEvaluationScores()
