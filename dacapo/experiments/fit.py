"""Check that the parts of a run fit together, without reading voxels or training.

The config of each part checks the part itself. The pairs are checked here: the network and the raw data, the task and
the ground truth, and so on. They are listed in tables that ``RunConfig.verify`` and the start of a training share, so
that a run that trains can also be validated and applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from dacapo.errors import ConfigError, DacapoError
from dacapo.experiments.block_plan import check_input, plan_blocks
from dacapo.experiments.build import blaming
from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.datasplits.datasplit import place_of
from dacapo.experiments.early_stopping import check_early_stopping
from dacapo.experiments.tasks.evaluators.volumes import scored_roi
from dacapo.store.create_store import create_array_store, create_weights_store
from dacapo.utils.names import check_name

if TYPE_CHECKING:
    from dacapo.experiments.run import Run


@attrs.frozen
class Pair:
    """Two fields of a run's config that have to fit, and the check for it.

    Attributes:
        field: A field of a dataset's config.
        part: The part of the run that it has to fit.
        check: Raises a :class:`~dacapo.errors.DacapoError` if they do not fit.
    """

    field: str
    part: str
    check: Callable[[Run, Dataset], None]


def _names(run: Run, dataset: Dataset) -> None:
    create_array_store().validation_prediction_array(run.name, 0, dataset.name)
    create_weights_store().check_best_name(run.name, dataset.name, "criterion")


def _input(run: Run, dataset: Dataset) -> None:
    check_input(run.model, dataset.raw)


def _scored_labels(run: Run, dataset: Dataset) -> None:
    run.task.evaluator.check_truth(ground_truth(dataset))


def _scored_mask(run: Run, dataset: Dataset) -> None:
    if dataset.mask is not None:
        run.task.evaluator.check_mask(dataset.mask)


def _scored_region(run: Run, dataset: Dataset) -> None:
    truth = ground_truth(dataset)
    scored_roi(truth.roi, run.model.scale(dataset.raw.voxel_size), truth, dataset.mask)


def _predicted_region(run: Run, dataset: Dataset) -> None:
    plan_blocks(run.model, dataset.raw, ground_truth(dataset).roi)


def _learned_labels(run: Run, dataset: Dataset) -> None:
    run.task.predictor.check_labels(ground_truth(dataset, "training"))


def _learned_mask(run: Run, dataset: Dataset) -> None:
    if dataset.mask is not None:
        run.task.predictor.check_mask(dataset.mask)


VALIDATION = (
    Pair("name", "the names of files", _names),
    Pair("raw_config", "architecture_config", _input),
    Pair("gt_config", "task_config", _scored_labels),
    Pair("mask_config", "task_config", _scored_mask),
    Pair("gt_config", "architecture_config", _scored_region),
    Pair("gt_config", "architecture_config", _predicted_region),
)
"""The checks of each validation dataset."""

TRAINING = (
    Pair("gt_config", "task_config", _learned_labels),
    Pair("mask_config", "task_config", _learned_mask),
)
"""The checks of each training dataset for trainers that read datasets, in addition to the trainer's own."""


def check_training(run: Run, snapshot_container: Any = None) -> None:
    """Check that the trainer of a run can train its network on its data, and let it prepare batches.

    Args:
        run: The run.
        snapshot_container: Container for the snapshots of the trainer, if any.

    Raises:
        DacapoError: If a part does not fit; the message begins with its field in the run's config.
    """
    datasets = run.datasplit.train
    if run.trainer.trains_on_data:
        _check_pairs(run, "train", datasets, TRAINING)
    with blaming(_place(run, "train"), "trainer_config and architecture_config"):
        run.trainer.build_batch_provider(datasets, run.model, run.task, snapshot_container)


def check_validation(run: Run) -> None:
    """Check that a run can be validated on all its validation datasets.

    Raises:
        ConfigError: If a dataset has no ground truth, its name is unsuitable for a folder, or the network has a
            different number of dimensions; or if ``early_stopping`` has nothing to go by.
        ChannelMismatchError: If the number of channels of the raw data does not suit the network, or that of ground
            truth or mask does not suit the evaluator.
        DtypeError: If the run's evaluator cannot score ground truth of this data type.
        EvaluationError: If ground truth or mask are on a different voxel grid than the prediction, or do not overlap.
        RoiError: If ground truth extends beyond the raw data, or the raw data is smaller than the network's input.
    """
    _check_criteria(run)
    _check_pairs(run, "validate", run.datasplit.validate or [], VALIDATION)


def ground_truth(dataset: Dataset, purpose: str = "validation") -> Array:
    """Return the ground truth of a dataset.

    Raises:
        ConfigError: If the dataset has no ground truth.
    """
    if dataset.gt is None:
        raise ConfigError(f"{purpose} dataset {dataset.name!r} has no ground truth; give it a gt_config")
    return dataset.gt


def misfits(run: Run) -> Iterator[DacapoError]:
    """Yield the errors of :func:`check_validation` and :func:`check_training`, one for each validation dataset.

    Of training only the first one, since the trainer checks its datasets together.
    """
    try:
        _check_criteria(run)
    except DacapoError as error:
        yield error
    yield from _pair_misfits(run, "validate", run.datasplit.validate or [], VALIDATION)
    try:
        check_training(run)
    except DacapoError as error:
        yield error


def _check_criteria(run: Run) -> None:
    with blaming("task_config", "the names of files"):
        for criterion in filter(run.task.evaluator.store_best, run.task.evaluation_scores.criteria):
            check_name(criterion, "criterion")  # the best checkpoint is stored under it
    check_early_stopping(run)


def _check_pairs(run: Run, kind: str, datasets: Sequence[Dataset], pairs: Iterable[Pair]) -> None:
    """Check the datasets of a kind, ``train`` or ``validate``."""
    for error in _pair_misfits(run, kind, datasets, pairs):
        raise error


def _pair_misfits(run: Run, kind: str, datasets: Sequence[Dataset], pairs: Iterable[Pair]) -> Iterator[DacapoError]:
    """Yield the first problem of each dataset of a kind."""
    subject = {"train": "training", "validate": "validation"}[kind]
    for index, dataset in enumerate(datasets):
        try:
            for pair in pairs:
                place = _place(run, kind, index)
                place = f"{place}.{pair.field}" if hasattr(dataset.config, pair.field) else place
                with blaming(place, pair.part, f"{subject} dataset {dataset.name!r}: "):
                    pair.check(run, dataset)
        except DacapoError as error:
            yield error


def _place(run: Run, kind: str, index: int | None = None) -> str:
    """Return the path to the datasets of a kind, or one of them, in the config of a run."""
    return ".".join(filter(None, ("datasplit_config", place_of(run.config.datasplit_config, kind, index))))
