"""Start training from the weights of another run."""

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
from dacapo.utils.plain_repr import plain_repr

if TYPE_CHECKING:
    from dacapo.experiments.tasks import Task, TaskConfig

logger = logging.getLogger(__name__)


class Start(ABC):  # noqa: B024 - abstract by name only: subclasses replace the source of the weights
    """Load the matching weights of a stored run.

    Attributes:
        run: Name of the run to take weights from.
        criterion: The checkpoint to take; see `StartConfig`.
        channels: Labels of the channels that the old head predicts. If None or a number, the task of the old run
            provides them when the weights are loaded.
    """

    def __init__(self, start_config: StartConfig | Mapping[str, Any]) -> None:
        """Store the config; nothing is read yet.

        Args:
            start_config: A config (or anything with the same attributes), or the values of its fields by name.

        Raises:
            ConfigError: If the run or the criterion is missing, or a field is unknown.
        """
        config = _as_config(start_config)
        self.run = config.run
        self.criterion = config.criterion
        self.channels: Sequence[str] | int | None = getattr(config, "channels", None)

    def __repr__(self) -> str:
        return plain_repr(self)

    def initialize_weights(self, model: Model, new_head: Sequence[str] | None = None) -> Model:
        """Load the weights into a model, layer by layer if name and shape agree.

        A warning lists each layer that keeps its own weights, and each unused one. If both heads have labels, channels
        of the head are matched by label, whatever their order and number.

        Args:
            model: The model to change.
            new_head: Labels of the channels that the model predicts.

        Returns:
            The same model.

        Raises:
            NotFoundError: If the run or the checkpoint is not in the store.
            ConfigError: If no layer fits, or the criterion is ambiguous.
        """
        weights = self._retrieve_weights()
        return load_common(model, weights.model, self.run, self._known_labels(), new_head)

    def _known_labels(self) -> Sequence[str] | None:
        """Return the labels of the old head: the configured ones, or else those of the old run's task."""
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
                raise CheckpointNotFoundError(f"run {self.run!r} has no weights to start from; train it first")
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
                f"run {self.run!r} has no best weights by criterion {criterion!r}; use a criterion that was "
                "validated, the number of an iteration, or 'latest'"
            )
        return store.retrieve_best_weights(self.run, datasets[0], criterion)

    def _old_labels(self) -> list[str] | None:
        try:
            task_config = create_config_store().retrieve_run_config(self.run).task_config
        except NotFoundError:
            logger.warning("run %s has weights but no config; channels of its head are matched in order", self.run)
            return None
        return head_labels(task_config, task_config.task_type(task_config))


@attrs.define
class StartConfig(Config):
    """The weights of a run to start from."""

    start_type: ClassVar[type[Start]] = Start

    run: str = field("Name of the run to take weights from.")
    criterion: str = field(
        "The weights to take: a validation criterion for the best by it, 'dataset/criterion' if several datasets have "
        "one, the number of an iteration, or 'latest'."
    )
    channels: list[str] | None = field(
        "Labels of the channels that the old head predicts; by default those of the old run's task.",
        default=None,
        kw_only=True,
    )


def load_start(start_config: StartConfig, model: Model, task_config: TaskConfig, task: Task) -> tuple[Start, Model]:
    """Load the weights named by a config into the model of a task.

    Returns:
        The start that loaded the weights, and the model.

    Raises:
        NotFoundError: If the weights do not exist.
        ConfigError: If no layer fits.
    """
    start: Start = start_config.start_type(start_config)
    labels = head_labels(task_config, task)
    if labels is not None and len(labels) != model.num_out_channels:
        labels = None  # the channels of a config may differ from those of the head
    return start, start.initialize_weights(model, new_head=labels)


def head_labels(task_config: TaskConfig, task: Task) -> list[str] | None:
    """Return the labels of the channels that a task predicts.

    The labels come from its predictor, or else from ``channels`` of its config; None if neither names them.
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
            f"a start needs 'run' and 'criterion', and may have 'channels'; got {sorted(values)}"
        ) from error
