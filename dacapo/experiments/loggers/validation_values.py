"""The scores of a validation as numbers by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dacapo.experiments.selection import select_of_validation
from dacapo.utils.ranking import first_best

if TYPE_CHECKING:
    from dacapo.experiments.run import Run
    from dacapo.experiments.validation_iteration_scores import ValidationIterationScores


def validation_values(run: Run, scores: ValidationIterationScores) -> dict[str, float]:
    """Return the scores of a validation by name; those that are undefined are left out.

    - ``validation/<criterion>``: the criterion that decides, over all datasets, with the best parameters.
    - ``validation/<dataset>/<criterion>``: each criterion, with the parameters that are best for it on the dataset.
    - ``parameters/<dataset>/<criterion>/<parameters>``: each criterion that best checkpoints are kept for.
    """
    about, parameters = run.task.evaluation_scores, [str(each) for each in run.task.parameters]
    table = np.array(scores.scores, dtype=np.float64)  # by dataset, parameters, criterion
    values = {}
    criterion = run.task.evaluation_scores.default_criterion
    best = None if criterion is None else select_of_validation(run, scores, criterion)
    if best is not None:
        values[f"validation/{criterion}"] = best.value
    for rows, dataset in zip(table, run.validation_scores.datasets, strict=True):
        for column, name in zip(rows.T, run.validation_scores.criteria, strict=True):
            index, _ = first_best(column, about.higher_is_better(name))
            if len(column):
                values[f"validation/{dataset.name}/{name}"] = float(column[index])
            if about.store_best(name):
                tried = zip(parameters, column, strict=True)
                values |= {f"parameters/{dataset.name}/{name}/{each}": float(score) for each, score in tried}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def best_text(run: Run, scores: ValidationIterationScores) -> str:
    """Return the best parameters of a validation by the criterion that decides, and why there are none."""
    criterion = run.task.evaluation_scores.default_criterion
    best = None if criterion is None else select_of_validation(run, scores, criterion)
    if criterion is None:
        return "no criteria"
    return "undefined for all parameters" if best is None else str(best.parameters)


def latest_validation(run: Run) -> ValidationIterationScores | None:
    """Return the scores of the iteration that a run was trained to, None if it was not validated."""
    done = run.training_stats.trained_until()
    return next((scores for scores in run.validation_scores.scores if done and scores.iteration == done), None)
