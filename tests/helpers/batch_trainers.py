"""Trainers that take batches of samples, by the class of their config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.model import Model
from dacapo.experiments.tasks import (
    Task,
)
from dacapo.experiments.trainers import (
    GunpowderTrainerConfig,
    SimpleAugmentConfig,
    TorchTrainerConfig,
)
from dacapo.experiments.trainers.weighting import TrainingBatch
from dacapo.store.array_store import LocalContainerIdentifier
from dacapo.testing.trainer import CPU
from tests.helpers.datasets import blobs
from tests.helpers.networks import ConvNet, TinyNet, classes, dummy_task


class BatchTrainers:
    """Builds trainers of one kind, for the suites below."""

    config_type: type[GunpowderTrainerConfig] | type[TorchTrainerConfig]

    def config(self, **changes: Any) -> Any:
        settings = {
            "name": "trainer",
            "batch_size": 1,
            "learning_rate": 1e-3,
            "num_data_fetchers": 1,
            "min_masked": 0.0,
        }
        return self.config_type(**{**settings, "min_masked": 0.0, **changes})

    def trainer(self, **changes: Any) -> Any:
        config = self.config(**changes)
        return config.trainer_type(config)

    def build(self, *datasets: Dataset, model: Model | None = None, **changes: Any) -> None:
        """Build a trainer on datasets, which refuses those that do not fit."""
        task = dummy_task()
        self.trainer(**changes).build_batch_provider(datasets, model or task.create_model(TinyNet()), task, None)

    def batches(
        self,
        count: int,
        datasets: Sequence[Dataset],
        model: Model | None = None,
        task: Task | None = None,
        container: LocalContainerIdentifier | None = None,
        **changes: Any,
    ) -> list[TrainingBatch]:
        """Return the first batches of a training, with ground truth and mask."""
        task = task or dummy_task()
        trainer = self.trainer(snapshot_interval=1, **changes)
        model = model or task.create_model(TinyNet())
        trainer.build_batch_provider(datasets, model, task, container or LocalContainerIdentifier(Path("unused.zarr")))
        with trainer:
            return [batch for batch, _ in zip(trainer, range(count), strict=False)]

    def trained(self, iterations: int = 5, task: Task | None = None, **changes: Any) -> tuple[list[float], Model]:
        """Train a network without dropout; return losses and model."""
        task = task or classes()
        trainer = self.trainer(warmup_iterations=0, augments=[SimpleAugmentConfig()], **changes)
        torch.manual_seed(0)
        model = task.create_model(ConvNet())
        trainer.build_batch_provider([blobs()], model, task)
        optimizer = trainer.create_optimizer(model)
        with trainer:
            return [stats.loss for stats in trainer.iterate(iterations, model, optimizer, CPU)], model
