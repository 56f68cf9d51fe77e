"""The interface of trainers, the dummy trainer and the configs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
import yaml

from dacapo.errors import ConfigError
from dacapo.experiments.architectures import DummyArchitecture, DummyArchitectureConfig
from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.model import Model
from dacapo.experiments.tasks import DummyTask, DummyTaskConfig
from dacapo.experiments.tasks.losses import Loss
from dacapo.experiments.trainers import (
    DummyTrainer,
    DummyTrainerConfig,
    GunpowderTrainer,
    GunpowderTrainerConfig,
    Trainer,
    TrainerConfig,
)
from dacapo.experiments.trainers.dummy_trainer import DummyBatchProvider
from dacapo.experiments.trainers.schedule import learning_rate_factor
from dacapo.store.converter import from_plain, to_plain
from dacapo.testing.trainer import TrainerContract
from tests.helpers.golden_data import GOLDEN


class ScaledLoss(Loss):
    """The sum of absolute differences times a factor."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def compute(
        self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self.factor * (prediction - target).abs().sum()


class TestDummyTrainer(TrainerContract):
    def config(self) -> TrainerConfig:
        return DummyTrainerConfig(name="dummy", batch_size=2, learning_rate=1e-6, mirror_augment=True)

    def task(self) -> DummyTask:
        return DummyTask(DummyTaskConfig("task", 2, 0.5))

    def datasets(self) -> Sequence[Dataset]:
        return []

    def model(self) -> Model:
        return self.task().create_model(DummyArchitecture(DummyArchitectureConfig("architecture", 1, 2)))

    def test_loss_falls(self) -> None:
        trainer, model, optimizer = self.session()
        losses = [stats.loss for stats in self.train(trainer, model, optimizer, 30)]
        assert losses[-1] < losses[0]

    def test_a_task_without_a_loss_is_refused(self) -> None:
        trainer, model, _ = self.session()
        task = self.task()
        task.loss = None  # type: ignore[assignment]
        with pytest.raises(ValueError, match="no loss"):
            trainer.build_batch_provider([], model, task, None)

    def test_the_loss_is_that_of_the_task(self) -> None:
        trainer, model, optimizer = self.session()
        task, device = self.task(), torch.device("cpu")
        task.loss = ScaledLoss(3.0)
        provider = trainer.build_batch_provider([], model, task, None)
        prediction = model(provider.batch(0))
        stats = next(iter(trainer.iterate(1, model, optimizer, device)))
        assert stats.loss == pytest.approx(3 * float(prediction.detach().abs().sum()), rel=1e-5)

    def test_without_a_task_the_loss_is_the_mean_square(self) -> None:
        trainer, model = DummyTrainer(DummyTrainerConfig("dummy", 2, 1e-3, False)), self.model()
        prediction = model(DummyBatchProvider(model, 2, False, seed=0).batch(0))
        stats = next(iter(trainer.iterate(1, model, trainer.create_optimizer(model), torch.device("cpu"))))
        assert stats.loss == pytest.approx(float(prediction.detach().square().mean()), rel=1e-5)

    def test_mirroring_changes_the_order_of_values_only(self) -> None:
        trainer, model, _ = self.session()
        assert isinstance(trainer, DummyTrainer)
        provider = trainer.build_batch_provider([], model.architecture, self.task())
        mirrored = [provider.batch(i) for i in range(8)]
        plain = [attrs.evolve(provider, mirror_augment=False).batch(i) for i in range(8)]
        assert any(not torch.equal(a, b) for a, b in zip(mirrored, plain, strict=True))
        for a, b in zip(mirrored, plain, strict=True):
            assert torch.equal(a.flatten().sort().values, b.flatten().sort().values)


def test_trainer_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Trainer(gunpowder_config())  # type: ignore[abstract]


class OwnTrainer(DummyTrainer):
    """A trainer that knows its settings without a config."""

    def __init__(self) -> None:
        Trainer.__init__(self)


def test_a_trainer_needs_no_config() -> None:
    assert "__init__" not in Trainer.__abstractmethods__
    assert OwnTrainer().iteration == 0


def test_old_module_names_are_the_same_modules() -> None:
    from dacapo.experiments.trainers import gunpowder_trainer, gunpowder_trainer_config

    assert gunpowder_trainer_config is gunpowder_trainer
    assert gunpowder_trainer_config.GunpowderTrainerConfig is GunpowderTrainerConfig


# --- configs ---


def gunpowder_config(**changes: Any) -> GunpowderTrainerConfig:
    return GunpowderTrainerConfig(**{"name": "gp", "batch_size": 2, "learning_rate": 1e-4, **changes})


def test_recorded_config_is_read_and_builds_a_trainer() -> None:
    plain = yaml.safe_load(Path(GOLDEN / "config_store" / "trainers" / "gp_trainer.yaml").read_text())
    config = from_plain(plain, TrainerConfig)
    assert isinstance(config, GunpowderTrainerConfig)
    assert [type(augment).__name__ for augment in config.augments] == [
        "ElasticAugmentConfig",
        "GammaAugmentConfig",
        "IntensityAugmentConfig",
        "IntensityScaleShiftAugmentConfig",
        "SimpleAugmentConfig",
    ]
    trainer = config.trainer_type(config)
    assert isinstance(trainer, GunpowderTrainer)
    assert (trainer.min_masked, trainer.num_data_fetchers, trainer.snapshot_interval) == (0.05, 2, 1000)
    assert from_plain(to_plain(config), TrainerConfig) == config


def test_defaults() -> None:
    config = gunpowder_config()
    assert (config.num_data_fetchers, config.augments, config.snapshot_interval) == (5, [], None)
    assert (config.min_masked, config.clip_raw, config.seed) == (0.15, False, None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": math.nan}, "learning_rate"),
        ({"min_masked": 1.5}, "min_masked"),
        ({"snapshot_interval": 0}, "snapshot_interval"),
        ({"warmup_iterations": -1}, "warmup_iterations"),
        ({"precision": "int4"}, "precision"),
        ({"accumulate": 0}, "accumulate"),
        ({"clip_gradients": 0.0}, "clip_gradients"),
        ({"clip_gradients": math.nan}, "clip_gradients"),
        ({"decay_iterations": 1000}, "decay_iterations"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], reason: str) -> None:
    config = gunpowder_config(**changes)
    fine, why = config.verify()
    assert not fine
    assert reason in why
    with pytest.raises(ConfigError, match=reason):
        GunpowderTrainer(config)


@pytest.mark.parametrize("config", [gunpowder_config(), gunpowder_config(min_masked=None, warmup_iterations=0)])
def test_possible_settings_are_verified(config: GunpowderTrainerConfig) -> None:
    assert config.verify()[0]


def test_dummy_config_warns_of_its_results() -> None:
    fine, why = DummyTrainerConfig(name="dummy", batch_size=1, learning_rate=1, mirror_augment=False).verify()
    assert not fine
    assert "DummyTrainer" in why


# --- learning rate ---


def test_warm_up_is_that_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=20)
    for iteration in range(30):
        assert learning_rate_factor(iteration, 20) == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_decay_is_half_a_cosine_that_ends_at_one_percent() -> None:
    factors = [learning_rate_factor(iteration, 10, 110) for iteration in range(200)]
    assert factors[10] == 1
    assert factors[60] == pytest.approx(0.505)
    assert factors[110:] == pytest.approx([0.01] * 90)
    assert all(a > b for a, b in itertools.pairwise(factors[10:111]))


def test_no_warm_up() -> None:
    assert learning_rate_factor(0, 0) == 1
