"""Choosing a checkpoint and post-processing parameters by validation scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np

from dacapo.errors import ConfigError, NotFoundError
from dacapo.experiments.run import Run
from dacapo.experiments.tasks.post_processors import PostProcessorParameters
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.store.create_store import create_stats_store


@attrs.frozen
class Selection:
    """Which checkpoint and post-processing parameters to use, and why."""

    iteration: int
    parameters: PostProcessorParameters
    reason: str


def select(
    run: Run,
    criterion: str = "voi",
    validation_dataset: str | None = None,
    iteration: int | None = None,
    parameters: PostProcessorParameters | str | None = None,
) -> Selection:
    """Choose checkpoint and parameters by the validation scores, unless they are given.

    Args:
        run: The run; its stored scores are read unless both are given.
        criterion: The score that decides; where each channel has its own, one name stands for their mean.
        validation_dataset: Whose scores decide, by default the mean over all validation datasets.
        iteration: Checkpoint to use.
        parameters: Post-processing parameters, or what ``str`` makes of them.

    Raises:
        NotFoundError: If scores are needed and there are none, or anything named does not exist.
    """
    wanted = None if parameters is None else _find_parameters(run, parameters)
    if iteration is not None and wanted is not None:
        return Selection(iteration, wanted, f"iteration {iteration} and {wanted}, as given")
    scores = create_stats_store().retrieve_validation_iteration_scores(run.name)
    meant = matching_criteria(run.task.evaluation_scores.criteria, criterion)
    values = _mean_scores(run, scores, meant, validation_dataset)
    candidates = [
        (i, p, value)
        for (i, p), value in values.items()
        if not math.isnan(value) and iteration in (None, i) and wanted in (None, p)
    ]
    if not candidates:
        given = f" at iteration {iteration}" if iteration is not None else ""
        raise NotFoundError(
            f"run {run.name!r} has no score of {criterion!r}{given} to choose by; "
            "validate it first, or name both iteration and parameters"
        )
    direction = -1 if run.task.evaluation_scores.higher_is_better(meant[0]) else 1
    best, chosen, value = min(candidates, key=lambda c: direction * c[2])
    where = validation_dataset or "the validation datasets"
    return Selection(best, chosen, f"iteration {best} with {chosen}: {criterion} {value:.4g} on {where} is the best")


def _find_parameters(run: Run, parameters: PostProcessorParameters | str) -> PostProcessorParameters:
    if not isinstance(parameters, str):
        return parameters
    known = {str(p): p for p in run.task.parameters}
    if parameters not in known:
        raise NotFoundError(f"unknown parameters {parameters!r}; this run's are {', '.join(known)}")
    return known[parameters]


def _dataset_names(run: Run) -> list[str]:
    """Return the names of the validation datasets, from the config where it has them: the data may be elsewhere now."""
    configs = getattr(run.config.datasplit_config, "validate_configs", None)
    return [dataset.name for dataset in (run.datasplit.validate or [] if configs is None else configs)]


def matching_criteria(criteria: Sequence[str], wanted: str) -> list[str]:
    """Return the criteria that a name stands for: itself, or that of each channel, as ``mito__voi`` for ``voi``.

    Raises:
        NotFoundError: If there is none.
    """
    found = [name for name in criteria if wanted in (name, name.rpartition("__")[2])]
    if not found:
        raise NotFoundError(f"unknown criterion {wanted!r}; this run's are {', '.join(criteria)}")
    return [wanted] if wanted in found else found


def _mean_scores(
    run: Run, scores: list[ValidationIterationScores], meant: Sequence[str], dataset: str | None
) -> dict[tuple[int, PostProcessorParameters], float]:
    """Return the score of each iteration and parameters, NaN where it is missing for a dataset that counts."""
    criteria, tried = list(run.task.evaluation_scores.criteria), list(run.task.parameters)
    names = _dataset_names(run)
    if dataset is not None and dataset not in names:
        raise NotFoundError(f"unknown validation dataset {dataset!r}; this run's are {', '.join(names)}")
    counted = [i for i, name in enumerate(names) if dataset in (None, name)]
    if not counted:
        raise ConfigError(f"run {run.name!r} has no validation datasets; name both iteration and parameters")
    for s in scores:
        s.check_datasets(names)
        if np.shape(s.scores) != (len(names), len(tried), len(criteria)):
            raise ConfigError(
                f"the scores of iteration {s.iteration} of run {run.name!r} are of other validation datasets or "
                "another task than its config names now; name both iteration and parameters, or restore the config"
            )
    columns = [criteria.index(name) for name in meant]
    return {
        (s.iteration, parameters): float(np.mean([s.scores[d][p][c] for d in counted for c in columns]))
        for s in scores
        for p, parameters in enumerate(tried)
    }
