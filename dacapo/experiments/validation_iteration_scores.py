"""Scores of one validated iteration."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from dacapo.errors import RecordError

# Maximum number of criteria listed in a reason.
MAX_LISTED = 4


@attrs.define
class ValidationIterationScores:
    """Hold all scores of one validated iteration.

    Attributes:
        iteration: The iteration whose weights were validated.
        scores: Numbers by dataset, post-processing parameters and criterion, in the order of the
            ``ValidationScores`` they belong to; NaN marks a missing score.
        reasons: The reason for each NaN, by ``"<dataset name>/<parameters>"``.
        datasets: Names of the datasets in the order of ``scores``, to detect changes; None if they were not recorded.
    """

    iteration: int = attrs.field()
    scores: list[list[list[float]]] = attrs.field()
    reasons: dict[str, str] = attrs.field(factory=dict)
    datasets: list[str] | None = attrs.field(default=None)

    def check_datasets(self, names: Sequence[str]) -> None:
        """Check that the scores belong to datasets of the given names.

        Raises:
            RecordError: If the names or their order differ.
        """
        if self.datasets is not None and self.datasets != list(names):
            raise RecordError(
                f"the scores of iteration {self.iteration} belong to the validation datasets {self.datasets}, but the "
                f"run now has {list(names)}; restore their names and order, or start a run of another name"
            )


def why_undefined(criteria: Sequence[str], row: Sequence[float]) -> str:
    """Return the reason for NaN scores of volumes that could be compared, or an empty string."""
    names = [criterion for criterion, value in zip(criteria, row, strict=True) if math.isnan(value)]
    if not names:
        return ""
    listed = ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")
    return f"not defined for these volumes, for example because truth or output has no foreground: {listed}"
