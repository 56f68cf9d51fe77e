"""Choose a checkpoint and post-processing parameters by validation scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.errors import ConfigError, NotFoundError
from dacapo.experiments.tasks import Task
from dacapo.experiments.tasks.post_processors import PostProcessorParameters
from dacapo.experiments.tasks.post_processors.parameters_text import parse_parameters
from dacapo.experiments.validation_iteration_scores import MAX_LISTED, ValidationIterationScores
from dacapo.store.create_store import create_stats_store
from dacapo.utils.ranking import Choice, choose

if TYPE_CHECKING:
    from dacapo.experiments.run import Run
    from dacapo.experiments.run_config import RunConfig
    from dacapo.experiments.trained_model import TrainedModel


@attrs.frozen
class Selection:
    """The checkpoint and post-processing parameters to use, and the reason for the choice.

    Attributes:
        iteration: The checkpoint.
        parameters: The parameters.
        reason: Why, in words.
        value: The score that decided, NaN if both were given.
    """

    iteration: int
    parameters: PostProcessorParameters
    reason: str
    value: float = attrs.field(default=math.nan, eq=str)  # as text, NaN equals NaN


def select(
    run: Run | TrainedModel,
    criterion: str = "voi",
    validation_dataset: str | None = None,
    iteration: int | None = None,
    parameters: PostProcessorParameters | str | None = None,
) -> Selection:
    """Choose checkpoint and parameters by the validation scores, unless they are given.

    All candidates are compared by the same scores, following :func:`dacapo.utils.ranking.choose`: a class counts on
    those datasets whose truth contains it. A candidate that lacks a counting score, for example because nothing was
    predicted, ranks behind all that lack fewer. Among equals, the earliest iteration wins, then the first parameters.

    Args:
        run: The run, or its model; its stored scores are read unless both iteration and parameters are given.
        criterion: The score that decides; if each channel has its own, a common name stands for their mean.
        validation_dataset: The dataset whose scores decide, by default the mean over all validation datasets.
        iteration: Checkpoint to use.
        parameters: Post-processing parameters, or their ``str``. They may differ from those that validation tried; then
            the iteration is the one that is best with any tried parameters.

    Raises:
        NotFoundError: If scores are needed but missing, or a name is unknown.
    """
    wanted = parse_parameters(parameters, run.task.parameters) if isinstance(parameters, str) else parameters
    if iteration is not None and wanted is not None:
        return Selection(iteration, wanted, f"iteration {iteration} and {wanted}, as given")
    scores = create_stats_store().retrieve_validation_iteration_scores(run.name)
    return select_among(scores, run, criterion, validation_dataset, iteration, wanted)


class Scored(Protocol):
    """A run or its model, or any other object that has its task."""

    @property
    def name(self) -> str:
        """Name of the run."""
        ...

    @property
    def config(self) -> RunConfig:
        """Config of the run."""
        ...

    @property
    def task(self) -> Task:
        """The task, which knows the criteria and the parameters."""
        ...


def select_among(
    scores: Sequence[ValidationIterationScores],
    run: Scored,
    criterion: str,
    validation_dataset: str | None = None,
    iteration: int | None = None,
    wanted: PostProcessorParameters | None = None,
) -> Selection:
    """Choose by given scores of a run, as :func:`select` does by the stored ones."""
    # Untried parameters have no scores, so they cannot rank the iterations.
    compared = wanted if wanted in list(run.task.parameters) else None
    meant = matching_criteria(run.task.evaluation_scores.criteria, criterion)
    scores = sorted(scores, key=lambda s: s.iteration)
    names = dataset_names(run.config, scores)
    counted = _counted(run.name, names, validation_dataset)
    table = score_array(run.name, run.task, scores, names)
    candidates = [
        (i, p)
        for i, s in enumerate(scores)
        for p, tried in enumerate(run.task.parameters)
        if iteration in (None, s.iteration) and compared in (None, tried)
    ]
    pairs = [(dataset, name) for dataset in counted for name in meant]
    choice = _choose(run.task, table, candidates, pairs)
    left_out = _left_out(choice, [f"{name} on {names[dataset]}" for dataset, name in pairs])
    if choice.index is None:
        given = f" at iteration {iteration}" if iteration is not None else ""
        raise NotFoundError(
            f"run {run.name!r} has no score of {criterion!r}{given} to choose by{left_out}; "
            "validate it first, or give another criterion, or both iteration and parameters"
        )
    i, p = candidates[choice.index]
    best, chosen = scores[i].iteration, list(run.task.parameters)[p]
    where = validation_dataset or "the validation datasets"
    reason = f"iteration {best} with {chosen}: {criterion} {choice.value:.4g} on {where} is the best{left_out}"
    if wanted is not None and compared is None:
        return Selection(best, wanted, f"{wanted}, as given; {reason}", choice.value)
    return Selection(best, chosen, reason, choice.value)


def select_of_validation(run: Scored, scores: ValidationIterationScores, criterion: str) -> Selection | None:
    """Return the best parameters of one validation, and their score; None if no score decides."""
    try:
        return select_among([scores], run, criterion)
    except NotFoundError:
        return None


def select_best(run: Run | TrainedModel, best: bool | str) -> int:
    """Return the checkpoint that validated best.

    Args:
        run: The run, or its model.
        best: A criterion, ``dataset/criterion``, or True for ``voi``.

    Raises:
        NotFoundError: If no score decides, or a name is unknown.
    """
    dataset, _, criterion = ("voi" if best is True else str(best)).rpartition("/")
    return select(run, criterion, dataset or None).iteration


def dataset_names(config: RunConfig, scores: Sequence[ValidationIterationScores]) -> list[str]:
    """Return the names of the validation datasets, without opening them if possible: the data may have moved."""
    configs = getattr(config.datasplit_config, "validate_configs", None)
    if configs is not None:
        return [dataset.name for dataset in configs]
    recorded = next((s.datasets for s in reversed(scores) if s.datasets is not None), None)
    if recorded is not None:
        return recorded
    return [dataset.name for dataset in config.datasplit_config.datasplit_type(config.datasplit_config).validate or []]


def matching_criteria(criteria: Sequence[str], wanted: str) -> list[str]:
    """Return the criteria that a name refers to: itself, or one per channel, such as ``mito__voi`` for ``voi``.

    Raises:
        NotFoundError: If no criterion matches.
    """
    found = [name for name in criteria if wanted in (name, name.rpartition("__")[2])]
    if not found:
        raise NotFoundError(f"unknown criterion {wanted!r}; this run's are {', '.join(criteria)}")
    return [wanted] if wanted in found else found


def _counted(run_name: str, names: Sequence[str], dataset: str | None) -> list[int]:
    """Return the positions of the validation datasets whose scores count."""
    if dataset is not None and dataset not in names:
        raise NotFoundError(f"unknown validation dataset {dataset!r}; this run's are {', '.join(names)}")
    if not names:
        raise ConfigError(f"run {run_name!r} has no validation datasets; give both iteration and parameters")
    return [i for i, name in enumerate(names) if dataset in (None, name)]


def score_array(
    run_name: str, task: Task, scores: Sequence[ValidationIterationScores], names: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Return all scores by iteration, dataset, parameters, criterion.

    Raises:
        RecordError: If they belong to datasets with other names.
        ConfigError: If the number of datasets, parameters or criteria differs.
    """
    shape = (len(names), len(task.parameters), len(task.evaluation_scores.criteria))
    for s in scores:
        s.check_datasets(names)
        if np.shape(s.scores) != shape:
            raise ConfigError(
                f"the scores of iteration {s.iteration} of run {run_name!r} belong to other validation datasets or "
                "another task than its current config; give both iteration and parameters, or restore the config"
            )
    return np.array([s.scores for s in scores], dtype=np.float64).reshape(len(scores), *shape)


def _choose(
    task: Task,
    table: npt.NDArray[np.float64],
    candidates: Sequence[tuple[int, int]],
    pairs: Sequence[tuple[int, str]],
) -> Choice:
    """Choose among positions of iterations and parameters, by the scores of pairs of a dataset and a criterion."""
    about = task.evaluation_scores
    criteria = list(about.criteria)

    def has_truth(dataset: int, name: str) -> bool:
        rows = table[:, dataset].reshape(-1, len(criteria))
        return any(about.has_truth(name, dict(zip(criteria, row, strict=True))) for row in rows)

    values = [[table[i, dataset, p, criteria.index(name)] for dataset, name in pairs] for i, p in candidates]
    return choose(
        np.array(values, dtype=np.float64).reshape(len(candidates), len(pairs)),
        np.array([has_truth(*pair) for pair in pairs]),
        about.higher_is_better(pairs[0][1]),
    )


def _left_out(choice: Choice, labels: Sequence[str]) -> str:
    """Return a note on the scores that did not count and those that the best candidate lacks; may be empty."""
    if not len(choice.missing):
        return ""
    lacked = np.zeros(len(labels), dtype=bool) if choice.index is None else choice.missing[choice.index]
    notes = (
        ("left out, because the truth does not contain it", choice.untrue),
        ("left out, because no candidate has it", choice.unknown),
        ("every candidate lacks some score; replaced by the worst of the others", lacked),
    )
    named = ((why, [label for label, left in zip(labels, which, strict=True) if left]) for why, which in notes)
    return "".join(f"; {why}: {_some(some)}" for why, some in named if some)


def _some(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - MAX_LISTED} more" if len(labels) > MAX_LISTED else ""
    return ", ".join(labels[:MAX_LISTED]) + more
