"""The interface of trainers and of their configs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs
import numpy as np

from dacapo.errors import TrainingError
from dacapo.experiments.config import Config, field
from dacapo.utils.field_types import mistyped_field
from dacapo.utils.html import html_table

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.model import Model
    from dacapo.experiments.tasks.task import Task
    from dacapo.experiments.training_iteration_stats import TrainingIterationStats
    from dacapo.store.array_store import LocalContainerIdentifier


class Trainer(ABC):
    """Make batches and step the optimizer.

    A trainer is built from its config. ``create_optimizer`` comes first, then ``build_batch_provider``, then the
    trainer is entered as a context and iterated:

        with trainer:
            for stats in trainer.iterate(100, model, optimizer, device):
                ...

    To resume, build everything anew, load the states of model, optimizer and trainer, and set ``iteration``.

    Attributes:
        iteration: The next iteration to do, counted from 0.
        seed: Seed of all random numbers, together with the number of the iteration. The run sets it.
        batch_size: Number of samples in one batch.
        learning_rate: Learning rate of the optimizer.
        trains_on_ranks: Whether several processes can train one network together with trainers of this class.
        trains_on_data: Whether trainers of this class use datasets at all.
        snapshot_interval: A snapshot is written in each iteration that is a multiple of it; None for no snapshots.
    """

    trains_on_ranks: ClassVar[bool] = False
    trains_on_data: ClassVar[bool] = True

    iteration: int = 0
    seed: int = 0
    batch_size: int
    learning_rate: float
    snapshot_interval: int | None = None

    def __init__(self, trainer_config: Any = None) -> None:  # noqa: B027  (a subclass may take its settings elsewhere)
        """Set nothing; subclasses take over their settings, from a config or otherwise."""

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in self._facts())
        return f"{type(self).__name__}({facts})"

    def _repr_html_(self) -> str:
        """Return a table of the settings, for notebooks."""
        return html_table(type(self).__name__, [], self._facts())

    def _facts(self) -> list[tuple[str, object]]:
        names = ("batch_size", "learning_rate", "iteration", "seed")
        return [(name, getattr(self, name)) for name in names if hasattr(self, name)]

    @abstractmethod
    def create_optimizer(self, model: Model) -> torch.optim.Optimizer:
        """Return an optimizer of the parameters of ``model``."""
        raise NotImplementedError

    @abstractmethod
    def iterate(
        self, num_iterations: int, model: Model, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> Iterator[TrainingIterationStats]:
        """Train ``model`` for some iterations, starting with ``self.iteration``.

        When an iteration's statistics are yielded, ``self.iteration`` and ``state_dict`` describe the state after it.

        Args:
            num_iterations: How many iterations to do.
            model: The model to train, in place.
            optimizer: The result of ``create_optimizer`` for this model.
            device: The device to train on.
        """
        raise NotImplementedError

    @abstractmethod
    def can_train(self, datasets: Sequence[Dataset]) -> bool:
        """Return whether this trainer can train on all of the datasets."""
        raise NotImplementedError

    @abstractmethod
    def build_batch_provider(
        self,
        datasets: Sequence[Dataset],
        model: Model,
        task: Task,
        snapshot_container: LocalContainerIdentifier | None = None,
    ) -> Any:
        """Prepare the making of batches; a trainer may return the provider.

        Args:
            datasets: The data to train on.
            model: The model to train.
            task: Has the predictor, which turns ground truth into targets, and the loss.
            snapshot_container: Container for snapshots of batches, if they are written.
        """
        raise NotImplementedError

    @abstractmethod
    def __enter__(self) -> Self:
        raise NotImplementedError

    @abstractmethod
    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        raise NotImplementedError

    def prepare_input(self, raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return raw values with the changes that every sample undergoes in training, for prediction.

        Only changes without randomness belong here, such as a fixed scale and shift of intensities.

        Args:
            raw: Values as the raw array gives them, any axes.
        """
        return raw

    def use_average(self, model: Model) -> None:  # noqa: B027  (most trainers average nothing)
        """Give the model the weights to validate, store and apply, until the next iteration.

        A trainer that averages weights over iterations overrides this. In checkpoints the model has these weights, and
        :meth:`state_dict` those that training goes on from.
        """

    def collect_state(self) -> None:  # noqa: B027  (most trainers have nothing to do)
        """Collect the state of all ranks for ``state_dict``; with several ranks, all call this at the same time."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state that an exact resume needs in addition to model, optimizer and iteration.

        Only plain values and tensors, so that ``torch.load(..., weights_only=True)`` reads it back.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that ``state_dict`` returned. An empty state changes nothing.

        Raises:
            TrainingError: If the state is of another kind of trainer.
        """
        if state:
            raise TrainingError(
                f"{type(self).__name__} keeps no state, but was given one with {sorted(state)}; "
                "the checkpoint is of another trainer"
            )


def iteration_seeds(seed: int, iteration: int) -> tuple[int, int]:
    """Return two independent seeds below 2**32 for an iteration: for its batch, and for torch.

    Torch's generator on CPUs uses only the lowest 32 bits of its seed, so one number cannot be shifted to give both.
    """
    batch, model = np.random.SeedSequence([seed, iteration]).generate_state(2)
    return int(batch), int(model)


def sample_seed(seed: int, iteration: int, sample: int) -> int:
    """Return a seed below 2**32 for a sample of an iteration, independent of those of ``iteration_seeds``."""
    return int(np.random.SeedSequence([seed, iteration], spawn_key=(0, sample)).generate_state(1)[0])


def network_seed(seed: int, iteration: int, part: int, rank: int) -> int:
    """Return a seed below 2**32 for the random layers of a network, such as dropout.

    Args:
        seed: Seed of the run.
        iteration: Number of the iteration.
        part: Number of the batch within the iteration.
        rank: The rank that trains on it; others drop out other values.
    """
    return int(np.random.SeedSequence([seed, iteration], spawn_key=(1, part, rank)).generate_state(1)[0])


@attrs.define
class TrainerConfig(Config):
    """Base of all trainer configs."""

    trainer_type: ClassVar[type[Trainer]]

    name: str = field(
        "A unique name for this trainer. It is used as its name in the store, so keep it short.", alters_training=False
    )
    batch_size: int = field("Number of samples in one batch.", alters_training=False)
    learning_rate: float = field("Learning rate of the optimizer.")
    seed: int | None = field(
        "Seed of all random numbers in training. By default, it follows from the run's name and repetition.",
        default=None,
        kw_only=True,
    )

    def input_preparation(self) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
        """Return a function that changes raw values like :meth:`Trainer.prepare_input`.

        Prediction asks the config for it. This default builds a trainer, which works for every trainer; a config that
        needs none overrides it.
        """
        return self.trainer_type(self).prepare_input

    def verify(self) -> tuple[bool, str]:
        """Check the types of all fields, and that batch size and learning rate are positive."""
        mistyped = mistyped_field(self)
        if mistyped is not None:
            return False, mistyped
        if self.batch_size < 1:
            return False, f"batch_size is {self.batch_size}, but a batch needs at least one sample"
        if not self.learning_rate > 0:
            return False, f"learning_rate is {self.learning_rate}, but must be above 0"
        if self.seed is not None and self.seed < 0:
            return False, f"seed is {self.seed}, but cannot be negative"
        return super().verify()
