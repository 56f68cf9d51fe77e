"""Begin training with the weights of another run."""

from __future__ import annotations

import logging
from abc import ABC
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import torch

from dacapo.errors import CheckpointNotFoundError, ConfigError, NotFoundError
from dacapo.experiments.config import Config, field
from dacapo.experiments.model import Model
from dacapo.store.converter import TYPE_KEY
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.store.weights_store import Weights, same_tensors

if TYPE_CHECKING:
    from dacapo.experiments.tasks import Task, TaskConfig

logger = logging.getLogger(__name__)

HEAD_PREFIXES = ("prediction_head.", "chain.1.")


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


def load_common(
    model: Model,
    state: Mapping[str, torch.Tensor],
    source: str,
    old_head: Sequence[str] | None,
    new_head: Sequence[str] | None,
) -> Model:
    """Copy into a model what a state has under the same name and in the same shape.

    Args:
        model: The model to change.
        state: Tensors by name.
        source: Where they come from, for messages.
        old_head: Labels of the channels of the head in ``state``.
        new_head: Labels of the channels of the model's head.

    Returns:
        The same model.

    Raises:
        ConfigError: If nothing fits.
    """
    tensors, by_label = model.state_dict(), bool(old_head) and bool(new_head)
    known: set[str] = set()
    copied = 0
    for names in same_tensors(model):
        known.update(names)
        if by_label and names[0].startswith(HEAD_PREFIXES):
            continue
        old = next((state[name] for name in names if name in state), None)
        target = tensors[names[0]]
        if old is None:
            logger.warning("%s has no layer %s; it keeps its own weights", source, names[0])
        elif old.shape != target.shape:
            shapes = tuple(target.shape), tuple(old.shape)
            logger.warning(
                "layer %s has shape %s, in %s %s; it keeps its own weights", names[0], shapes[0], source, shapes[1]
            )
        else:
            copied += 1
            with torch.no_grad():
                target.copy_(old)
    for name in state:
        if name not in known and not _is_second_name(name, state):
            logger.warning("layer %s of %s has no place in the model and is left out", name, source)
    if by_label and old_head and new_head:
        head = {name: tensor for name, tensor in state.items() if name.startswith(HEAD_PREFIXES)}
        copied += bool(head)
        match_heads(model, head, old_head, new_head)
    if not copied:
        raise ConfigError(
            f"no layer of the model has the name and shape of one in {source}; start from a run of a similar "
            "architecture, or leave out the start"
        )
    return model


def match_heads(
    model: Model, head_weights: Mapping[str, torch.Tensor], old_head: Sequence[str], new_head: Sequence[str]
) -> Model:
    """Copy those channels of an old head whose label the new head has too.

    Args:
        model: The model to change.
        head_weights: Tensors of the old head by name, output channels first. A leading ``prediction_head.`` or
            ``chain.1.`` in the names makes no difference.
        old_head: Label of each channel of the old head.
        new_head: Label of each channel of the model's head.

    Returns:
        The same model.
    """
    old = {_inside_head(name): tensor for name, tensor in head_weights.items()}
    pairs = [(new_head.index(label), old_head.index(label)) for label in new_head if label in old_head]
    for label in new_head:
        if label not in old_head:
            logger.warning("channel %r is new; it keeps its own weights in the head", label)
    for name, target in model.prediction_head.state_dict().items():
        source = old.get(name)
        if source is None or not _same_but_channels(source, target, len(old_head), len(new_head)):
            logger.warning("layer prediction_head.%s does not fit by labels; it keeps its own weights", name)
            continue
        with torch.no_grad():
            for new_channel, old_channel in pairs:
                target[new_channel].copy_(source[old_channel])
    return model


def _is_second_name(name: str, state: Mapping[str, torch.Tensor]) -> bool:
    """Return whether a tensor of a chain is also listed under the name of its part."""
    pairs = (("chain.0.", "architecture."), ("chain.1.", "prediction_head."))
    return any(name.startswith(chain) and part + name.removeprefix(chain) in state for chain, part in pairs)


def _inside_head(name: str) -> str:
    for prefix in HEAD_PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _same_but_channels(old: torch.Tensor, new: torch.Tensor, old_count: int, new_count: int) -> bool:
    if old.dim() == 0 or new.dim() == 0:
        return False
    return old.shape[1:] == new.shape[1:] and (old.shape[0], new.shape[0]) == (old_count, new_count)
