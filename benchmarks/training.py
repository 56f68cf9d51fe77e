"""Training iterations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from dacapo.experiments.run import Run
from dacapo.experiments.tasks import TaskConfig
from dacapo.experiments.trainers import GunpowderTrainerConfig, TorchTrainerConfig
from dacapo.experiments.trainers.batch_trainer_config import BatchTrainerConfig
from dacapo.experiments.trainers.gp_augments import IntensityAugmentConfig, SimpleAugmentConfig

from .batches import AFFINITIES, DISTANCES, make_run, write_dataset
from .harness import Case, Setting


def loss_of(task: TaskConfig, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return what a user would write down as the loss."""
    if task is DISTANCES:
        return ((prediction - target) * weight).square().mean()
    return (binary_cross_entropy_with_logits(prediction, target, reduction="none") * weight).mean()


def iterations(setting: Setting, task: TaskConfig, trainer: type[BatchTrainerConfig]) -> Case:
    """Train with batches that a process makes on another core; the floor has the same batches in memory."""
    count = setting.size(10, 2)
    dataset, _, _ = write_dataset(setting.folder, setting.size(128, 48))

    def prepared() -> Run:
        augments = [SimpleAugmentConfig(), IntensityAugmentConfig(scale=(0.8, 1.2), shift=(-0.1, 0.1))]
        size, features = setting.size(52, 28), setting.size(12, 4)
        run = make_run(task, augments, size, features=features, fetchers=2, trainer=trainer)
        run.trainer.build_batch_provider([dataset], run.model, run.task)
        return run

    run, bare = prepared(), prepared()
    with bare.trainer:
        memory = [
            [torch.from_numpy(values) for values in (batch.raw, batch.target, batch.weight)]
            for batch in islice(iter(bare.trainer), count)  # type: ignore[call-overload]
        ]
    setting.stack.enter_context(run.trainer)
    device = torch.device("cpu")

    def ours() -> list[float]:
        return [stats.loss for stats in run.trainer.iterate(count, run.model, run.optimizer, device)]

    def floor() -> list[float]:
        losses = []
        for raw, target, weight in memory:
            loss = loss_of(task, bare.model(raw), target, weight)
            bare.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            bare.optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    return Case(ours, floor, lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-5), "1.1")


CASES: dict[str, Callable[[Setting], Case]] = {
    "10 training iterations, affinities, 2 x 52^3": partial(
        iterations, task=AFFINITIES, trainer=GunpowderTrainerConfig
    ),
    "10 torch training iterations, affinities, 2 x 52^3": partial(
        iterations, task=AFFINITIES, trainer=TorchTrainerConfig
    ),
    "10 torch training iterations, distances, 2 x 52^3": partial(
        iterations, task=DISTANCES, trainer=TorchTrainerConfig
    ),
}
