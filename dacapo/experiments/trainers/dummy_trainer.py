"""A trainer that needs no data, to try out everything around training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs
import torch

from dacapo.experiments.config import field
from dacapo.experiments.training_iteration_stats import TrainingIterationStats

from .trainer import Trainer, TrainerConfig, iteration_seeds

if TYPE_CHECKING:
    from dacapo.experiments.model import Model


class DummyTrainer(Trainer):
    """Pull the output of a model towards zero on random inputs."""

    def __init__(self, trainer_config: DummyTrainerConfig) -> None:
        self.learning_rate = trainer_config.learning_rate
        self.batch_size = trainer_config.batch_size
        self.mirror_augment = trainer_config.mirror_augment
        self.seed = trainer_config.seed or 0

    def create_optimizer(self, model: Model) -> torch.optim.Optimizer:
        """Return a RAdam optimizer of the parameters of ``model``."""
        return torch.optim.RAdam(lr=self.learning_rate, params=model.parameters())

    def iterate(
        self, num_iterations: int, model: Model, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> Iterator[TrainingIterationStats]:
        """Train for some iterations; the loss is the mean square of the output.

        Raises:
            ValueError: If ``num_iterations`` is not positive.
        """
        # A generator would raise only when its first item is asked for.
        if num_iterations <= 0:
            raise ValueError(f"num_iterations is {num_iterations}, but must be at least 1")
        return self._iterate(num_iterations, model, optimizer, device)

    def _iterate(
        self, num_iterations: int, model: Model, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> Iterator[TrainingIterationStats]:
        for iteration in range(self.iteration, self.iteration + num_iterations):
            started = time.perf_counter()
            model.train()
            loss = model.forward(self._input(iteration, model).to(device)).square().mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            self.iteration = iteration + 1
            yield TrainingIterationStats(
                iteration=iteration, loss=float(loss.detach()), time=time.perf_counter() - started
            )

    def _input(self, iteration: int, model: Model) -> torch.Tensor:
        """Return random values, the same at each call for one iteration, shape (b, c, *spatial)."""
        generator = torch.Generator().manual_seed(iteration_seeds(self.seed, iteration)[0])
        raw = torch.rand((self.batch_size, model.num_in_channels, *model.input_shape), generator=generator)
        if self.mirror_augment:
            spatial = range(2, raw.ndim)
            mirrored = torch.rand(len(spatial), generator=generator) < 0.5
            raw = raw.flip([axis for axis, flip in zip(spatial, mirrored, strict=True) if flip])
        return raw

    def build_batch_provider(
        self, datasplit: Any, architecture: Any, task: Any, snapshot_container: Any = None
    ) -> None:
        """Check that the task has a loss; there is no data to prepare.

        Raises:
            ValueError: If the task has no loss.
        """
        if getattr(task, "loss", None) is None:
            raise ValueError(f"the task {task!r} has no loss to train with; set its `loss`")

    def can_train(self, datasplit: Any) -> bool:
        """Return True: no dataset is looked at."""
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        pass


@attrs.define
class DummyTrainerConfig(TrainerConfig):
    """Config of the trainer that needs no data."""

    trainer_type: ClassVar[type[Trainer]] = DummyTrainer

    mirror_augment: bool = field("Whether to mirror the random inputs.")

    def verify(self) -> tuple[bool, str]:
        """Say that results of this trainer mean nothing."""
        return False, "a DummyTrainer learns nothing from data; use another trainer for real work"
