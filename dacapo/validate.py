"""Score a checkpoint of a run on its validation data."""

from __future__ import annotations

import logging

import numpy.typing as npt

from dacapo.compute_context import Execution
from dacapo.errors import ConfigError, EvaluationError
from dacapo.experiments.best import keep_best
from dacapo.experiments.checkpoints import check_place
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
from dacapo.store.files import storage_errors
from dacapo.store.training_lock import training_lock
from dacapo.utils import distributed
from dacapo.utils.progress import progress

logger = logging.getLogger(__name__)


@Options.kept()
@storage_errors()
def validate(
    run_name: str | Run,
    iteration: int,
    num_workers: int | None = None,
    output_dtype: npt.DTypeLike = "uint8",
    overwrite: bool = True,
    max_memory: str | int | None = None,
    tta: str = "none",
) -> ValidationIterationScores:
    """Score a stored checkpoint of a run on all its validation datasets.

    Loads run, scores and checkpoint, then calls :func:`validate_run`. A run may be given instead of its name; scores
    and weights are loaded into it.

    Raises:
        NotFoundError: If the run or checkpoint does not exist.
        RunInUseError: If another process trains the run, which would overwrite the scores.
    """
    run = run_of(run_name)
    weights_store, stats_store = create_weights_store(), create_stats_store()
    weights_store.load_model(run, iteration)  # before the lock, which makes the folder of a run
    with training_lock(run.name, use="validated"):
        run.validation_scores.scores = []
        for earlier in stats_store.retrieve_validation_iteration_scores(run.name):
            run.validation_scores.add_iteration_scores(earlier)
        return validate_run(run, iteration, num_workers, output_dtype, overwrite, max_memory, tta)


@Options.kept()
@storage_errors()
def validate_run(
    run: Run,
    iteration: int,
    num_workers: int | None = None,
    output_dtype: npt.DTypeLike = "uint8",
    overwrite: bool = True,
    max_memory: str | int | None = None,
    tta: str = "none",
) -> ValidationIterationScores:
    """Score the model of a run as it is on all validation datasets, with all post-processing parameters.

    Scores are added to ``run.validation_scores`` and stored. The output and the checkpoint of this iteration are kept
    for each dataset and criterion for which they are the best so far; other arrays are deleted after scoring.

    Args:
        run: The run, with the weights of ``iteration``.
        iteration: Iteration to record the scores for.
        num_workers: Maximum number of worker processes to predict, post-process and score; see
            :mod:`dacapo.compute_context.worker_count`. Workers that predict need the stored checkpoint.
        output_dtype: Type of the predictions, as in :func:`dacapo.predict.predict`.
        overwrite: Whether to replace scores of this iteration.
        max_memory: Limit on the memory of all processes together, such as ``"8GB"``; see :func:`dacapo.apply.apply`.
        tta: Test-time augmentation of the predictions, as in :func:`dacapo.predict.predict`.

    Returns:
        Scores by dataset, parameters and criterion, where the dataset's mask is not 0. If the data does not allow to
        score a segmentation, its scores are NaN, and ``reasons`` says why. Any other error is raised.

    Raises:
        ConfigError: If the run has no validation datasets, or scores of the iteration exist and must be kept.
        MemoryBudgetError: If not even the smallest block of a prediction fits; the message says how much is enough.
    """
    datasets = run.datasplit.validate
    if not datasets:
        raise ConfigError(f"run {run.name!r} has no validation datasets; add some to its data split")
    check_place(run)
    check_validation(run)
    _make_room(run, iteration, overwrite)
    execution = Execution(num_workers, max_memory, tta=tta)
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
        raise ConfigError(f"run {run.name!r} already has scores of iteration {iteration}; allow overwriting them")
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
    """Return the scores of all datasets and parameters; ranks divide the work."""
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
    """Return scores by criterion, and the reason for undefined ones, by ``<dataset>/<parameters>``."""
    arrays = create_array_store()
    run.task.post_processor.set_prediction(arrays.validation_prediction_array(run.name, iteration, dataset.name))
    outputs = [arrays.validation_output_array(run.name, iteration, str(choice), dataset.name) for choice in choices]
    rows = {}
    done = run.task.post_processor.process_all_within(choices, outputs, execution)
    for index, _ in progress(done, total=len(choices), desc=f"post-process {dataset.name}", unit="parameter set"):
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
