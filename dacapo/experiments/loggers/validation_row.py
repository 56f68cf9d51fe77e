"""A validation as a row of a table in the log."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dacapo.experiments.loggers.validation_values import best_text
from dacapo.experiments.selection import select_of_validation

if TYPE_CHECKING:
    from dacapo.experiments.run import Run
    from dacapo.experiments.validation_iteration_scores import ValidationIterationScores


def header(run: Run) -> str:
    """Return the header of the table."""
    criterion = run.task.evaluation_scores.default_criterion or "score"
    return f"{'iteration':>9}  {criterion:>12}  {'':4}  {'seconds':>7}  parameters"


def row(run: Run, scores: ValidationIterationScores, seconds: float) -> str:
    """Return the best score of a validation over its datasets, and the parameters that it was reached with.

    Args:
        run: The run; ``validation_scores`` holds the scores.
        scores: The scores of the validation.
        seconds: Its duration.
    """
    value = _value(run, scores)
    others = [_value(run, other) for other in run.validation_scores.scores if other.iteration != scores.iteration]
    sign = _sign(run)
    is_best = not math.isnan(value) and all(math.isnan(other) or sign * value < sign * other for other in others)
    mark = "best" if is_best else ""
    return f"{scores.iteration:>9}  {value:>12.5g}  {mark:4}  {seconds:>7.0f}  {best_text(run, scores)}"


def _sign(run: Run) -> int:
    criterion = run.task.evaluation_scores.default_criterion
    return -1 if criterion is not None and run.task.evaluation_scores.higher_is_better(criterion) else 1


def _value(run: Run, scores: ValidationIterationScores) -> float:
    """Return the best score by the criterion that decides, NaN without one."""
    criterion = run.task.evaluation_scores.default_criterion
    best = None if criterion is None else select_of_validation(run, scores, criterion)
    return math.nan if best is None else best.value
