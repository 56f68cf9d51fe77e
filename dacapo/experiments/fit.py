"""Check that the parts of a run fit together, without reading voxels or training.

The config of each part checks the part itself. The pairs are checked here: the network and the raw data, the task and
the ground truth, and so on. They are listed in tables that ``RunConfig.verify`` and the start of a training share, so
that a run that trains can also be validated and applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from dacapo.errors import ConfigError, DacapoError
from dacapo.experiments.block_plan import check_input, plan_blocks
from dacapo.experiments.datasplits import DataSplit
from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.model import Model
from dacapo.experiments.starts import load_start
from dacapo.experiments.tasks import Task
from dacapo.experiments.tasks.evaluators.volumes import scored_roi
from dacapo.experiments.trainers import Trainer
from dacapo.store.create_store import create_array_store, create_weights_store
from dacapo.utils.names import check_name

if TYPE_CHECKING:
    from dacapo.experiments.run_config import RunConfig


class Parts(Protocol):
    """The parts of a run; a :class:`~dacapo.experiments.run.Run` has them."""

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> RunConfig: ...
    @property
    def task(self) -> Task: ...
    @property
    def model(self) -> Model: ...
    @property
    def trainer(self) -> Trainer: ...
    @property
    def datasplit(self) -> DataSplit: ...


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
    check: Callable[[Parts, Dataset], None]


def _names(run: Parts, dataset: Dataset) -> None:
    create_array_store().validation_prediction_array(run.name, 0, dataset.name)
    create_weights_store().check_best_name(run.name, dataset.name, "criterion")


def _input(run: Parts, dataset: Dataset) -> None:
    check_input(run.model, dataset.raw)


def _scored_labels(run: Parts, dataset: Dataset) -> None:
    run.task.evaluator.check_truth(ground_truth(dataset))


def _scored_mask(run: Parts, dataset: Dataset) -> None:
    if dataset.mask is not None:
        run.task.evaluator.check_mask(dataset.mask)


def _scored_region(run: Parts, dataset: Dataset) -> None:
    truth = ground_truth(dataset)
    scored_roi(truth.roi, run.model.scale(dataset.raw.voxel_size), truth, dataset.mask)


def _predicted_region(run: Parts, dataset: Dataset) -> None:
    plan_blocks(run.model, dataset.raw, ground_truth(dataset).roi)


def _learned_labels(run: Parts, dataset: Dataset) -> None:
    run.task.predictor.check_labels(ground_truth(dataset, "training"))


def _learned_mask(run: Parts, dataset: Dataset) -> None:
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


def check_training(run: Parts, snapshot_container: Any = None) -> None:
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
    with _blaming(_place(run, "train"), "trainer_config and architecture_config"):
        run.trainer.build_batch_provider(datasets, run.model, run.task, snapshot_container)


def check_validation(run: Parts) -> None:
    """Check that a run can be validated on all its validation datasets.

    Raises:
        ConfigError: If a dataset has no ground truth, its name is unsuitable for a folder, or the network has a
            different number of dimensions.
        ChannelMismatchError: If the number of channels of the raw data does not suit the network, or that of ground
            truth or mask does not suit the evaluator.
        DtypeError: If the run's evaluator cannot score ground truth of this data type.
        EvaluationError: If ground truth or mask are on a different voxel grid than the prediction, or do not overlap.
        RoiError: If ground truth extends beyond the raw data, or the raw data is smaller than the network's input.
    """
    with _blaming("task_config", "the names of files"):
        for criterion in filter(run.task.evaluator.store_best, run.task.evaluation_scores.criteria):
            check_name(criterion, "criterion")  # the best checkpoint is stored under it
    _check_pairs(run, "validate", run.datasplit.validate or [], VALIDATION)


def ground_truth(dataset: Dataset, purpose: str = "validation") -> Array:
    """Return the ground truth of a dataset.

    Raises:
        ConfigError: If the dataset has no ground truth.
    """
    if dataset.gt is None:
        raise ConfigError(f"{purpose} dataset {dataset.name!r} has no ground truth; give it a gt_config")
    return dataset.gt


def find_misfit(config: RunConfig) -> str | None:
    """Return the first problem that keeps the parts of a run from working together, with its path, or None.

    Opens files and builds networks, but reads no voxels. Assumes that each part has been checked on its own.
    """
    try:
        parts = BuiltParts.of(config)
        check_validation(parts)
        check_training(parts)
    except DacapoError as error:
        return str(error)
    return None


@attrs.frozen
class BuiltParts:
    """The parts of a run, built from its config for checking."""

    config: RunConfig
    task: Task
    model: Model
    trainer: Trainer
    datasplit: DataSplit

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.config.name

    @classmethod
    def of(cls, config: RunConfig) -> BuiltParts:
        """Build the parts, including initial weights if the run has none of its own.

        Raises:
            DacapoError: If building fails; the message begins with the responsible field.
        """
        task = config.task_config.task_type(config.task_config)
        trainer = config.trainer_config.trainer_type(config.trainer_config)
        datasplit = config.datasplit_config.datasplit_type(config.datasplit_config)
        architecture = config.architecture_config.architecture_type(config.architecture_config)
        with _blaming("architecture_config", "task_config"):
            model = task.create_model(architecture)
        start = config.start_config
        if start is not None and create_weights_store().latest_iteration(config.name) is None:
            with _blaming("start_config", "architecture_config and task_config"):
                _, model = load_start(start, model, config.task_config, task)
        return cls(config, task, model, trainer, datasplit)


def _check_pairs(run: Parts, kind: str, datasets: Sequence[Dataset], pairs: Iterable[Pair]) -> None:
    """Check the datasets of a kind, ``train`` or ``validate``."""
    subject = {"train": "training", "validate": "validation"}[kind]
    for index, dataset in enumerate(datasets):
        for pair in pairs:
            place = _place(run, kind, index)
            place = f"{place}.{pair.field}" if hasattr(dataset.config, pair.field) else place
            with _blaming(place, pair.part, f"{subject} dataset {dataset.name!r}: "):
                pair.check(run, dataset)


def _place(run: Parts, kind: str, index: int | None = None) -> str:
    """Return the path to the datasets of a kind, or one of them, in the config of a run."""
    several, single = f"{kind}_configs", f"{kind}_config"
    if hasattr(run.config.datasplit_config, several):
        return f"datasplit_config.{several}" + ("" if index is None else f"[{index}]")
    return f"datasplit_config.{single}" if hasattr(run.config.datasplit_config, single) else "datasplit_config"


@contextmanager
def _blaming(place: str, other: str, subject: str = "") -> Iterator[None]:
    """Prefix errors with the path to a field, and append the part that the field has to fit."""
    try:
        yield
    except DacapoError as error:
        raise type(error)(f"{place}: {subject}{error} (to fit {other})") from error
