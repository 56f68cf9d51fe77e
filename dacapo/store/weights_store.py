"""The interface of stores that keep checkpoints, and the state that a checkpoint holds."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from dacapo.errors import CheckpointNotFoundError, ConfigError, DamagedFileError
from dacapo.experiments.model_state import load_model_state
from dacapo.store.trained_config import plain_config

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.model import Model
    from dacapo.experiments.run import Run
    from dacapo.experiments.run_config import RunConfig

logger = logging.getLogger(__name__)

_PLAIN_TYPES = (type(None), bool, int, float, str)


class HasModel(Protocol):
    """The parts of a run that its checkpoints are loaded into for prediction."""

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> RunConfig: ...
    @property
    def model(self) -> Model: ...


class Weights:
    """Everything a run needs to resume.

    Attributes:
        model: State of the model, tensors by name.
        optimizer: State of the optimizer.
        trainer: State of the trainer, plain values and tensors; may be empty.
        iteration: Number of iterations the model was trained for, if recorded.
        config: Config of the run in plain values, if recorded.
    """

    model: Mapping[str, torch.Tensor]
    optimizer: dict[str, Any]
    trainer: dict[str, Any]
    iteration: int | None
    config: dict[str, Any] | None

    def __init__(
        self,
        model_state_dict: Mapping[str, torch.Tensor],
        optimizer_state_dict: dict[str, Any],
        *,
        trainer_state: dict[str, Any] | None = None,
        iteration: int | None = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        """Hold the states; tensors are not copied."""
        self.model = model_state_dict
        self.optimizer = optimizer_state_dict
        self.trainer = trainer_state or {}
        self.iteration = iteration
        self.config = config

    @classmethod
    def of_run(cls, run: Run, iteration: int) -> Weights:
        """Take the states of a run, reduced to values that can be read back without executing code.

        If the trainer averages weights, those of the model are the average from here to the next iteration.

        Raises:
            ConfigError: If a state holds something other than numbers, strings, tensors, and lists and dicts of them.
        """
        run.trainer.use_average(run.model)
        model = run.model.state_dict()
        for name, value in model.items():
            model[name] = _plain(value, f"model.{name}")
        optimizer = _plain(run.optimizer.state_dict(), "optimizer")
        trainer = _plain(run.trainer.state_dict(), "trainer")
        config = _plain(plain_config(run.config), "config")
        return cls(model, optimizer, trainer_state=trainer, iteration=iteration, config=config)

    def put_into_model(self, run: HasModel) -> None:
        """Load the state of the model only, which is all that prediction needs.

        Raises:
            ConfigError: If the model is of another architecture or task; the message lists the parameters that do not
                fit.
        """
        load_model_state(run.model, self.model, f"weights of {self._place(run)}")

    def put_into(self, run: Run) -> None:
        """Load the states into the parts of a run.

        Raises:
            ConfigError: If the run was built from a different architecture, task or optimizer; the message lists the
                parameters that do not fit.
        """
        self.put_into_model(run)
        try:
            run.optimizer.load_state_dict(self.optimizer)
        except (ValueError, KeyError) as error:
            raise ConfigError(
                f"weights of {self._place(run)}: the state of the optimizer does not belong to "
                f"{type(run.optimizer).__name__} over the parameters of this model ({error}); use the trainer that the "
                "run was started with"
            ) from error
        if self.trainer:
            run.trainer.load_state_dict(self.trainer)

    def _place(self, run: HasModel) -> str:
        return f"run {run.name!r}" + ("" if self.iteration is None else f", iteration {self.iteration}")


class WeightsStore(ABC):
    """Keeps checkpoints of runs by iteration, and those with the best score by dataset and criterion.

    Runs and datasets are given by name or as objects. A missing checkpoint raises a
    :class:`~dacapo.errors.CheckpointNotFoundError`, a file that is damaged or cannot be written a
    :class:`~dacapo.errors.StorageError`, and one that would execute code an :class:`~dacapo.errors.UnsafeFileError`.
    """

    def load_weights(self, run: Run, iteration: int) -> None:
        """Restore model, optimizer and trainer of a run from a checkpoint.

        Raises:
            ConfigError: If it does not fit the run, or the run's config has changed since.
        """
        weights = self.retrieve_weights(run, iteration)
        self.check_config(run, weights)
        weights.put_into(run)

    def load_latest(self, run: Run) -> int | None:
        """Restore a run from its latest checkpoint that is not damaged, and return its iteration; None without any.

        Raises:
            ConfigError: If it does not fit the run, or the run's config has changed since.
            DamagedFileError: If all checkpoints are damaged.
        """
        if not self.iterations(run):
            return None
        weights = self.retrieve_latest(run)
        self.check_config(run, weights)
        weights.put_into(run)
        return weights.iteration

    def load_model(self, run: HasModel, iteration: int) -> None:
        """Restore only the model of a run from a checkpoint, for prediction.

        Raises:
            ConfigError: If it does not fit the model, or the run's config was changed since it was stored.
        """
        weights = self.retrieve_model(run.name, iteration)
        self.check_config(run, weights)
        weights.put_into_model(run)

    def load_best(self, run: Run, dataset: Dataset | str, criterion: str) -> None:
        """Restore model, optimizer and trainer of a run from its best checkpoint.

        Raises:
            ConfigError: If it does not fit the run, or the run's config has changed since.
        """
        weights = self.retrieve_best_weights(run, dataset, criterion)
        self.check_config(run, weights)
        weights.put_into(run)

    def check_config(self, run: HasModel, weights: Weights) -> None:  # noqa: B027 - a store need not record configs
        """Refuse a run whose config differs from the one that its checkpoints were trained with.

        A store that does not record configs accepts every run, the default.

        Args:
            run: The run.
            weights: The checkpoint to load into it.

        Raises:
            ConfigError: If a difference alters training.
        """

    def record_config(self, run: Run) -> None:  # noqa: B027
        """Record the config of a run for :meth:`check_config`, before its first checkpoint is stored.

        Raises:
            ConfigError: If checkpoints exist that were trained with a different config.
        """

    def recorded_config(self, run: Run | str) -> dict[str, Any] | None:
        """Return the config that the checkpoints of a run were trained with, in plain values.

        None if it is not recorded, which is the default.
        """
        return None

    def replace_config(self, run: Run) -> None:  # noqa: B027
        """Record the config of a run in place of the one that its checkpoints were trained with, which is kept too."""

    @abstractmethod
    def latest_iteration(self, run: Run | str) -> int | None:
        """Return the highest iteration with a checkpoint, or None."""
        raise NotImplementedError

    def iterations(self, run: Run | str) -> list[int]:
        """Return all iterations with a checkpoint, in ascending order.

        A store that can list them overrides this; the default knows the latest only.
        """
        latest = self.latest_iteration(run)
        return [] if latest is None else [latest]

    def retrieve_latest(self, run: Run | str) -> Weights:
        """Return the checkpoint of the highest iteration that is not damaged; a warning names those that are.

        Raises:
            CheckpointNotFoundError: If no checkpoint is stored.
            DamagedFileError: If all of them are damaged.
        """
        damage: DamagedFileError | None = None
        for iteration in reversed(self.iterations(run)):
            try:
                weights = self.retrieve_weights(run, iteration)
            except DamagedFileError as error:
                damage = damage or error
                logger.warning("%s; the checkpoint before it is used", error)
            else:
                weights.iteration = iteration
                return weights
        if damage is not None:
            raise damage
        name = getattr(run, "name", run)
        raise CheckpointNotFoundError(f"run {name!r} has no checkpoint; train it first")

    @abstractmethod
    def store_weights(self, run: Run, iteration: int) -> None:
        """Store the states of model, optimizer and trainer of a run.

        Raises:
            ConfigError: If a state holds a value that a checkpoint cannot store.
        """
        raise NotImplementedError

    @abstractmethod
    def retrieve_weights(self, run: Run | str, iteration: int) -> Weights:
        """Return the checkpoint of an iteration, its tensors on the CPU."""
        raise NotImplementedError

    def retrieve_model(self, run: Run | str, iteration: int) -> Weights:
        """Return the checkpoint of an iteration for its model; other states may be missing.

        A store that can skip the states of optimizer and trainer overrides this.
        """
        return self.retrieve_weights(run, iteration)

    @abstractmethod
    def remove(self, run: Run | str, iteration: int) -> None:
        """Delete the checkpoint of an iteration; a best checkpoint made from it stays."""
        raise NotImplementedError

    def remove_old(self, run: Run | str, iteration: int, reason: str) -> None:
        """Delete the checkpoint of an iteration as :meth:`remove` does, and say why to those who ask for it later.

        A store that can remember the reason overrides this.

        Args:
            run: The run.
            iteration: The iteration.
            reason: Why, as a sentence about the checkpoint without its end, such as ``it was one of too many``.
        """
        self.remove(run, iteration)

    @abstractmethod
    def store_best(self, run: Run | str, iteration: int, dataset: Dataset | str, criterion: str) -> None:
        """Keep the checkpoint of an iteration as the best for a dataset and criterion, replacing the previous one."""
        raise NotImplementedError

    @abstractmethod
    def retrieve_best(self, run: Run | str, dataset: Dataset | str, criterion: str) -> int:
        """Return the iteration of the best checkpoint for a dataset and criterion."""
        raise NotImplementedError

    def retrieve_best_weights(self, run: Run | str, dataset: Dataset | str, criterion: str) -> Weights:
        """Return the best checkpoint for a dataset and criterion, its tensors on the CPU.

        A store that keeps the best checkpoints separately overrides this method.
        """
        return self.retrieve_weights(run, self.retrieve_best(run, dataset, criterion))

    def check_best_name(self, run: Run | str, dataset: Dataset | str, criterion: str) -> None:  # noqa: B027
        """Refuse names under which :meth:`store_best` could not keep a checkpoint; by default accept all.

        Raises:
            ConfigError: If a name is unsuitable.
        """

    def best_datasets(self, run: Run | str, criterion: str) -> list[str]:
        """Return the sorted names of the datasets with a best checkpoint by this criterion.

        A store that cannot list them returns none; callers then have to name the dataset.
        """
        return []


def _plain(value: Any, where: str) -> Any:
    """Convert subclasses of plain types to these types, and refuse everything else."""
    if isinstance(value, torch.Tensor) or type(value) in _PLAIN_TYPES:
        return value
    if isinstance(value, np.generic):
        return _plain(value.item(), where)
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {_plain(key, where): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, tuple):
        return tuple(_plain(item, f"{where}[{index}]") for index, item in enumerate(value))
    raise ConfigError(
        f"{where} is a {type(value).__name__}, which a checkpoint cannot hold; use numbers, strings, tensors, and "
        "lists and dicts of them"
    )
