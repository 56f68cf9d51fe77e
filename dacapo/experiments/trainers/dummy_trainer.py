"""A trainer without data, to try out everything around training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs
import torch

from dacapo.experiments.config import field
from dacapo.experiments.model import Model
from dacapo.experiments.tasks.losses import Loss, MSELoss
from dacapo.experiments.training_iteration_stats import TrainingIterationStats

from .trainer import Trainer, TrainerConfig, iteration_seeds

if TYPE_CHECKING:
    from dacapo.experiments.architectures.architecture import Architecture

__all__ = [
    "DummyBatchProvider",
    "DummyTrainer",
    "DummyTrainerConfig",
    "Model",
    "Trainer",
    "TrainingIterationStats",
]


@attrs.frozen
class DummyBatchProvider:
    """Make the input of a dummy training: random values, the same at each call for one iteration.

    Attributes:
        network: The model, or its architecture.
        batch_size: Number of samples in a batch.
        mirror_augment: Whether to mirror batches along random axes.
        seed: Seed of all random numbers, together with the iteration.
    """

    network: Architecture | Model
    batch_size: int
    mirror_augment: bool
    seed: int

    def batch(self, iteration: int) -> torch.Tensor:
        """Return the input of an iteration, float32 in [0, 1), axes batch, channel, space."""
        generator = torch.Generator().manual_seed(iteration_seeds(self.seed, iteration)[0])
        shape = (self.batch_size, self.network.num_in_channels, *self.network.input_shape)
        raw = torch.rand(shape, generator=generator)
        if self.mirror_augment:
            spatial = range(2, raw.ndim)
            mirrored = torch.rand(len(spatial), generator=generator) < 0.5
            raw = raw.flip([axis for axis, flip in zip(spatial, mirrored, strict=True) if flip])
        return raw


class DummyTrainer(Trainer):
    """Pull the output of a model toward zero on random inputs, with the loss of the task.

    The loss of a dummy task is a sum over all voxels, so steps are large; a learning rate of 1e-6 is enough. Without
    ``build_batch_provider``, the loss is the mean square of the output.
    """

    trains_on_data = False

    def __init__(self, trainer_config: DummyTrainerConfig) -> None:
        super().__init__(trainer_config)
        self.learning_rate = trainer_config.learning_rate
        self.batch_size = trainer_config.batch_size
        self.mirror_augment = trainer_config.mirror_augment
        self.seed = trainer_config.seed or 0
        self._loss: Loss = MSELoss()

    def create_optimizer(self, model: Model) -> torch.optim.Optimizer:
        """Return a RAdam optimizer of the parameters of ``model``."""
        return torch.optim.RAdam(lr=self.learning_rate, params=model.parameters())

    def iterate(
        self, num_iterations: int, model: Model, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> Iterator[TrainingIterationStats]:
        """Train for some iterations; the loss is that of the task, between the output and zeros.

        Raises:
            ValueError: If ``num_iterations`` is not positive.
        """
        # A generator would raise only when its first item is requested.
        if num_iterations <= 0:
            raise ValueError(f"num_iterations is {num_iterations}, but must be at least 1")
        return self._iterate(num_iterations, model, optimizer, device)

    def _iterate(
        self, num_iterations: int, model: Model, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> Iterator[TrainingIterationStats]:
        batches = self._batches_for(model)
        for iteration in range(self.iteration, self.iteration + num_iterations):
            started = time.perf_counter()
            model.train()
            prediction = model.forward(batches.batch(iteration).to(device))
            loss = self._loss.compute(prediction, torch.zeros_like(prediction), torch.ones_like(prediction))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            self.iteration = iteration + 1
            yield TrainingIterationStats(
                iteration=iteration, loss=float(loss.detach()), time=time.perf_counter() - started
            )

    def build_batch_provider(
        self, datasplit: Any, architecture: Any, task: Any, snapshot_container: Any = None
    ) -> DummyBatchProvider:
        """Take over the loss of a task; no data is prepared.

        Args:
            datasplit: Ignored; a data split or a list of datasets.
            architecture: The model to train, or its architecture.
            task: Has the loss.
            snapshot_container: Ignored.

        Returns:
            The inputs of all iterations.

        Raises:
            ValueError: If the task has no loss.
        """
        loss = getattr(task, "loss", None)
        if loss is None:
            raise ValueError(f"the task {task!r} has no loss to train with; set its `loss`")
        self._loss = loss
        return self._batches_for(architecture)

    def _batches_for(self, network: Architecture | Model) -> DummyBatchProvider:
        return DummyBatchProvider(network, self.batch_size, self.mirror_augment, self.seed)

    def can_train(self, datasplit: Any) -> bool:
        """Return True, since datasets are ignored."""
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        pass


@attrs.define
class DummyTrainerConfig(TrainerConfig):
    """Config of the trainer without data."""

    trainer_type: ClassVar[type[Trainer]] = DummyTrainer

    mirror_augment: bool = field("Whether to mirror the random inputs.")

    def verify(self) -> tuple[bool, str]:
        """Return that this trainer learns nothing."""
        fine, problem = super().verify()
        if not fine:
            return False, problem
        return False, "a DummyTrainer learns nothing from data; use another trainer for real work"
