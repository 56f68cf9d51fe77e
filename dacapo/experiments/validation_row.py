"""A validation as a row of a table in the log."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dacapo.experiments.run import Run
    from dacapo.experiments.validation_iteration_scores import ValidationIterationScores


def header(run: Run) -> str:
    """Return the header of the table."""
    criterion = run.task.evaluation_scores.default_criterion or "score"
    return f"{'iteration':>9}  {criterion:>12}  {'':4}  {'seconds':>7}  parameters"


def row(run: Run, scores: ValidationIterationScores, seconds: float) -> str:
    """Return the best score of a validation, the mean over its datasets, and the parameters that it was reached with.

    Args:
        run: The run; ``validation_scores`` holds the scores.
        scores: The scores of the validation.
        seconds: Its duration.
    """
    value, parameters = _best(run, scores)
    others = [_best(run, other)[0] for other in run.validation_scores.scores if other.iteration != scores.iteration]
    sign = _sign(run)
    is_best = not math.isnan(value) and all(math.isnan(other) or sign * value < sign * other for other in others)
    mark = "best" if is_best else ""
    return f"{scores.iteration:>9}  {value:>12.5g}  {mark:4}  {seconds:>7.0f}  {parameters}"


def _sign(run: Run) -> int:
    criterion = run.task.evaluation_scores.default_criterion
    return -1 if criterion is not None and run.task.evaluation_scores.higher_is_better(criterion) else 1


def _best(run: Run, scores: ValidationIterationScores) -> tuple[float, str]:
    """Return the best score by the criterion that decides, and its parameters; NaN and a reason without one."""
    criterion = run.task.evaluation_scores.default_criterion
    if criterion is None:
        return math.nan, "no criteria"
    column = run.validation_scores.criteria.index(criterion)
    values = _sign(run) * np.array(scores.scores, dtype=float)[:, :, column].mean(axis=0)
    if np.isnan(values).all():
        return math.nan, "undefined for all parameters"
    best = int(np.nanargmin(values))
    return _sign(run) * float(values[best]), str(list(run.task.parameters)[best])
