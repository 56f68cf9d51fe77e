"""Score a checkpoint of a run on its validation data."""

from __future__ import annotations

import logging

import numpy.typing as npt

from dacapo.compute_context import Execution
from dacapo.errors import ConfigError, EvaluationError
from dacapo.experiments.best import keep_best
from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.fit import check_validation, ground_truth
from dacapo.experiments.run import Run, run_of
from dacapo.experiments.tasks.post_processors import PostProcessorParameters
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores, why_undefined
from dacapo.inference.evaluation import evaluate_array
from dacapo.inference.inputs import ORIGIN
from dacapo.inference.prediction import predict_array
from dacapo.options import Options
from dacapo.store.create_store import create_array_store, create_stats_store, create_weights_store
from dacapo.utils import distributed
from dacapo.utils.progress import progress

logger = logging.getLogger(__name__)


@Options.kept()
def validate(
    run_name: str | Run,
    iteration: int,
    num_workers: int | None = None,
    output_dtype: npt.DTypeLike = "uint8",
    overwrite: bool = True,
    max_memory: str | int | None = None,
) -> ValidationIterationScores:
    """Score a stored checkpoint of a run on all its validation datasets.

    See :func:`validate_run`, which this calls after loading run, scores and checkpoint. A run in place of its name is
    used as it is, and scores and weights are loaded into it.

    Raises:
        NotFoundError: If there is no such run or checkpoint.
    """
    run = run_of(run_name)
    create_weights_store().load_model(run, iteration)
    run.validation_scores.scores = []
    for earlier in create_stats_store().retrieve_validation_iteration_scores(run.name):
        run.validation_scores.add_iteration_scores(earlier)
    return validate_run(run, iteration, num_workers, output_dtype, overwrite, max_memory)


@Options.kept()
def validate_run(
    run: Run,
    iteration: int,
    num_workers: int | None = None,
    output_dtype: npt.DTypeLike = "uint8",
    overwrite: bool = True,
    max_memory: str | int | None = None,
) -> ValidationIterationScores:
    """Score the model of a run as it is on all validation datasets, with all post-processing parameters.

    Scores are added to ``run.validation_scores`` and stored. Where they are the best so far for a criterion, the
    output and the checkpoint of this iteration are kept as the best of that dataset and criterion; other arrays are
    deleted once they are scored.

    Args:
        run: The run, its weights being those of ``iteration``.
        iteration: Iteration that the scores are recorded for.
        num_workers: Number of worker processes at most for predicting, post-processing and scoring. With several, the
            checkpoint has to be stored.
        output_dtype: Type of the predictions, as in :func:`dacapo.predict.predict`.
        overwrite: Whether scores of this iteration may be replaced.
        max_memory: Memory of all processes together, such as ``"8GB"``; see :func:`dacapo.apply.apply`.

    Returns:
        Scores by dataset, parameters, criterion, counted where the dataset's mask is not 0. NaN stands where a
        segmentation cannot be scored because of the data; ``reasons`` says why. Any other error is raised.

    Raises:
        ConfigError: If the run has no validation datasets, or scores of the iteration exist and must be kept.
        MemoryBudgetError: If not even the smallest block of a prediction fits; it says how much is enough.
    """
    datasets = run.datasplit.validate
    if not datasets:
        raise ConfigError(f"run {run.name!r} has no validation datasets; add some to its data split")
    check_validation(run)
    _make_room(run, iteration, overwrite)
    execution = Execution(num_workers, max_memory)
    for dataset in datasets:
        _predict_dataset(run, iteration, dataset, output_dtype, execution)
    scores = _scores(run, iteration, execution)
    run.validation_scores.add_iteration_scores(scores)
    if distributed.is_main():
        keep_best(run, iteration)
        create_stats_store().store_validation_iteration_scores(run.name, run.validation_scores)
    return scores


def _make_room(run: Run, iteration: int, overwrite: bool) -> None:
    others = [scores for scores in run.validation_scores.scores if scores.iteration != iteration]
    if len(others) < len(run.validation_scores.scores) and not overwrite:
        raise ConfigError(f"run {run.name!r} has scores of iteration {iteration} already; allow overwriting them")
    run.validation_scores.scores = others


def _predict_dataset(
    run: Run, iteration: int, dataset: Dataset, output_dtype: npt.DTypeLike, execution: Execution
) -> None:
    predict_array(
        run,
        dataset.raw,
        create_array_store().validation_prediction_array(run.name, iteration, dataset.name),
        execution,
        output_roi=ground_truth(dataset).roi,
        output_dtype=output_dtype,
        metadata={ORIGIN: {"operation": "validate", "run": run.name, "iteration": iteration}},
        iteration=iteration,
        raw_config=getattr(dataset.config, "raw_config", None),
        is_validation=True,
    )


def _scores(run: Run, iteration: int, execution: Execution) -> ValidationIterationScores:
    """Return the scores of all datasets and parameters, which the ranks divide among themselves."""
    datasets, parameters = run.datasplit.validate or [], list(run.task.parameters)
    own = distributed.share([(dataset, choice) for dataset in datasets for choice in parameters])
    found = {}
    for dataset in datasets:
        choices = [choice for other, choice in own if other is dataset]
        found.update(_score_dataset(run, iteration, dataset, choices, execution))
    everything = {name: row for part in distributed.gather(found) for name, row in part.items()}
    named = [[f"{dataset.name}/{choice}" for choice in parameters] for dataset in datasets]
    return ValidationIterationScores(
        iteration,
        [[everything[name][0] for name in names] for names in named],
        {name: everything[name][1] for names in named for name in names if everything[name][1]},
        [dataset.name for dataset in datasets],
    )


def _score_dataset(
    run: Run, iteration: int, dataset: Dataset, choices: list[PostProcessorParameters], execution: Execution
) -> dict[str, tuple[list[float], str]]:
    """Return scores by criterion, and why some are undefined, by ``<dataset>/<parameters>``."""
    arrays = create_array_store()
    run.task.post_processor.set_prediction(arrays.validation_prediction_array(run.name, iteration, dataset.name))
    outputs = [arrays.validation_output_array(run.name, iteration, str(choice), dataset.name) for choice in choices]
    rows = {}
    done = run.task.post_processor.process_all_within(choices, outputs, execution)
    for index, _ in progress(done, total=len(choices), desc=f"post-process {dataset.name}", unit="parameters"):
        parameters = choices[index]
        try:
            scores = evaluate_array(run, dataset, ground_truth(dataset), outputs[index], execution)
            row = [float(getattr(scores, criterion)) for criterion in run.validation_scores.criteria]
            reason = why_undefined(run.validation_scores.criteria, row)
        except EvaluationError as error:
            logger.warning("iteration %d, %s, %s cannot be scored: %s", iteration, dataset.name, parameters, error)
            reason = str(error)
            row = [float("nan")] * len(run.validation_scores.criteria)
        rows[f"{dataset.name}/{parameters}"] = row, reason
    return rows
