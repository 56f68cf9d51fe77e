"""What the validation of one iteration reports."""

from __future__ import annotations

import attrs


@attrs.define
class ValidationIterationScores:
    """Hold all scores of one validated iteration.

    Attributes:
        iteration: The iteration whose weights were validated.
        scores: Numbers by dataset, post-processing parameters and criterion, in the order of the
            ``ValidationScores`` they belong to; NaN where there is no score.
        reasons: Why a score is NaN, by ``"<dataset name>/<parameters>"``.
    """

    iteration: int = attrs.field()
    scores: list[list[list[float]]] = attrs.field()
    reasons: dict[str, str] = attrs.field(factory=dict)
