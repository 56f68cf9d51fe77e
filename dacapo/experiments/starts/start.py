"""Begin training with the weights of another run."""

from __future__ import annotations

import logging
from abc import ABC
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from dacapo.errors import CheckpointNotFoundError, ConfigError, NotFoundError
from dacapo.experiments.config import Config, field
from dacapo.experiments.model import Model
from dacapo.experiments.model_state import load_common
from dacapo.experiments.model_state import match_heads as match_heads
from dacapo.store.converter import TYPE_KEY
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.store.weights_store import Weights

if TYPE_CHECKING:
    from dacapo.experiments.tasks import Task, TaskConfig

logger = logging.getLogger(__name__)


class Start(ABC):  # noqa: B024 - abstract by name only: subclasses replace where weights come from
    """Load what fits of the weights of a run that is in the store.

    Attributes:
        run: Name of the run to take weights from.
        criterion: Which of its checkpoints to take; see `StartConfig`.
        channels: Labels of the channels that the old head predicts. None, or a number, leaves it to the old run's
            task to say them, and they are here once the weights are loaded.
    """

    def __init__(self, start_config: StartConfig | Mapping[str, Any]) -> None:
        """Remember what to load; nothing is read yet.

        Args:
            start_config: A config (or anything with the same attributes), or the values of its fields by name.

        Raises:
            ConfigError: If the run or the criterion is missing, or a name is none of a field.
        """
        config = _as_config(start_config)
        self.run = config.run
        self.criterion = config.criterion
        self.channels: Sequence[str] | int | None = getattr(config, "channels", None)

    def initialize_weights(self, model: Model, new_head: Sequence[str] | None = None) -> Model:
        """Load the weights into a model, layer by layer where name and shape agree.

        Each layer that keeps its own weights, and each that was left over, is logged as a warning. Where both heads
        have labels, channels of the head are matched by label, whatever their order and number.

        Args:
            model: The model to change.
            new_head: Labels of the channels that the model predicts.

        Returns:
            The same model.

        Raises:
            NotFoundError: If the run or the checkpoint is not in the store.
            ConfigError: If not a single layer fits, or the criterion is ambiguous.
        """
        weights = self._retrieve_weights()
        return load_common(model, weights.model, self.run, self._known_labels(), new_head)

    def _known_labels(self) -> Sequence[str] | None:
        """Return the labels of the old head: those that were set, or else those that were found."""
        if self.channels is None or isinstance(self.channels, int):
            self.channels = self._old_labels()
        return self.channels

    def _retrieve_weights(self) -> Weights:
        store = create_weights_store()
        if self.criterion.isdigit():
            return store.retrieve_weights(self.run, int(self.criterion))
        if self.criterion == "latest":
            latest = store.latest_iteration(self.run)
            if latest is None:
                raise CheckpointNotFoundError(f"there are no weights of run {self.run!r} to start from; train it first")
            return store.retrieve_weights(self.run, latest)
        dataset, _, criterion = self.criterion.rpartition("/")
        datasets = [dataset] if dataset else store.best_datasets(self.run, criterion)
        if len(datasets) > 1:
            choices = ", ".join(f"'{name}/{criterion}'" for name in datasets)
            raise ConfigError(
                f"run {self.run!r} has best weights by {criterion!r} for several datasets; "
                f"set the criterion of the start to one of {choices}"
            )
        if not datasets:
            raise CheckpointNotFoundError(
                f"there are no best weights of run {self.run!r} by criterion {criterion!r}; use a criterion that was "
                "validated, the number of an iteration, or 'latest'"
            )
        return store.retrieve_best_weights(self.run, datasets[0], criterion)

    def _old_labels(self) -> list[str] | None:
        try:
            task_config = create_config_store().retrieve_run_config(self.run).task_config
        except NotFoundError:
            logger.warning("run %s has weights but no config; channels of its head are taken in their order", self.run)
            return None
        return head_labels(task_config, task_config.task_type(task_config))


@attrs.define
class StartConfig(Config):
    """Which weights of which run to start from."""

    start_type: ClassVar[type[Start]] = Start

    run: str = field("Name of the run to take weights from.")
    criterion: str = field(
        "Which weights to take: a validation criterion for the best by it, 'dataset/criterion' where several datasets "
        "have one, the number of an iteration, or 'latest'."
    )
    channels: list[str] | None = field(
        "Labels of the channels that the old head predicts. Left out, they are those of the old run's task.",
        default=None,
        kw_only=True,
    )


def load_start(start_config: StartConfig, model: Model, task_config: TaskConfig, task: Task) -> tuple[Start, Model]:
    """Load into the model of a task the weights that a config names.

    Returns:
        The start that loaded them, and the model.

    Raises:
        NotFoundError: If there are no such weights.
        ConfigError: If not a single layer fits.
    """
    start: Start = start_config.start_type(start_config)
    labels = head_labels(task_config, task)
    if labels is not None and len(labels) != model.num_out_channels:
        labels = None  # channels of a config need not be those of the head
    return start, start.initialize_weights(model, new_head=labels)


def head_labels(task_config: TaskConfig, task: Task) -> list[str] | None:
    """Return the labels of the channels that a task predicts.

    Those of its predictor, or else ``channels`` of its config; None where neither names them.
    """
    labels = task.predictor.channel_names
    if labels is None:
        labels = getattr(task_config, "channels", None)
    return None if labels is None else list(labels)


def _as_config(start_config: StartConfig | Mapping[str, Any]) -> StartConfig:
    if not isinstance(start_config, Mapping):
        return start_config
    values = {name: value for name, value in start_config.items() if name != TYPE_KEY}
    try:
        return StartConfig(**values)
    except TypeError as error:
        raise ConfigError(
            f"a start was described by {sorted(values)}; it needs 'run' and 'criterion', and may have 'channels'"
        ) from error
