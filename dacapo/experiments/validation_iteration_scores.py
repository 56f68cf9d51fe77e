"""What the validation of one iteration reports."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from dacapo.errors import RecordError

# How many criteria a reason names.
MAX_LISTED = 4


@attrs.define
class ValidationIterationScores:
    """Hold all scores of one validated iteration.

    Attributes:
        iteration: The iteration whose weights were validated.
        scores: Numbers by dataset, post-processing parameters and criterion, in the order of the
            ``ValidationScores`` they belong to; NaN where there is no score.
        reasons: Why a score is NaN, by ``"<dataset name>/<parameters>"``.
        datasets: Names of the datasets in the order of ``scores``, to notice others in their place; None where they
            were not written down.
    """

    iteration: int = attrs.field()
    scores: list[list[list[float]]] = attrs.field()
    reasons: dict[str, str] = attrs.field(factory=dict)
    datasets: list[str] | None = attrs.field(default=None)

    def check_datasets(self, names: Sequence[str]) -> None:
        """Check that the scores are those of datasets of the given names.

        Raises:
            RecordError: If they were computed on others, or in another order.
        """
        if self.datasets is not None and self.datasets != list(names):
            raise RecordError(
                f"the scores of iteration {self.iteration} are of the validation datasets {self.datasets}, but the run "
                f"now has {list(names)}; restore their names and order, or start a run of another name"
            )


def why_undefined(criteria: Sequence[str], row: Sequence[float]) -> str:
    """Return why scores are NaN although the volumes could be compared, nothing if none is."""
    names = [criterion for criterion, value in zip(criteria, row, strict=True) if math.isnan(value)]
    if not names:
        return ""
    listed = ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")
    return f"not defined for these volumes, as where the truth or the output has no foreground: {listed}"
