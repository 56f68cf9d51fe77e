"""The contract of a trainer, as a test suite.

Subclass :class:`TrainerContract`, and say how to build the trainer and something small to train. The suite trains a few
iterations at a time, stops, and goes on from what was saved, which has to give the same to the last bit::

    class TestMyTrainer(TrainerContract):
        def config(self):
            return MyTrainerConfig(name="mine", batch_size=2, learning_rate=0.01)

        def task(self):
            return DummyTask(DummyTaskConfig("task", embedding_dims=2, detection_threshold=0.5))

        def datasets(self):
            return []

        def model(self):
            return self.task().create_model(DummyArchitecture(DummyArchitectureConfig("body", 1, 2)))
"""

from __future__ import annotations

import io
import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from dacapo.errors import TrainingError
from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.model import Model
from dacapo.experiments.tasks.task import Task
from dacapo.experiments.trainers import Trainer, TrainerConfig
from dacapo.experiments.training_iteration_stats import TrainingIterationStats

CPU = torch.device("cpu")
ITERATIONS = 6


class TrainerContract(ABC):
    """Laws of training, resuming above all."""

    @abstractmethod
    def config(self) -> TrainerConfig:
        """Return the config of the trainer."""

    @abstractmethod
    def task(self) -> Task:
        """Return a new task that the trainer can train."""

    @abstractmethod
    def datasets(self) -> Sequence[Dataset]:
        """Return datasets that the trainer can train on."""

    @abstractmethod
    def model(self) -> Model:
        """Return a new model with random weights."""

    def session(self, seed: int = 7) -> tuple[Trainer, Model, torch.optim.Optimizer]:
        """Build a trainer and what it trains, as from nothing."""
        config = self.config()
        trainer = config.trainer_type(config)
        trainer.seed = seed
        torch.manual_seed(0)
        model = self.model()
        optimizer = trainer.create_optimizer(model)
        trainer.build_batch_provider(self.datasets(), model, self.task(), None)
        # Whatever has been drawn before must not matter.
        torch.manual_seed(int(np.random.default_rng().integers(2**31)))
        np.random.seed(None)
        return trainer, model, optimizer

    def train(self, trainer: Trainer, model: Model, optimizer: Any, count: int) -> list[TrainingIterationStats]:
        """Train for some iterations and return their statistics."""
        with trainer:
            return list(trainer.iterate(count, model, optimizer, CPU))

    def test_config_is_fine_for_its_trainer(self) -> None:
        config = self.config()
        trainer = config.trainer_type(config)
        assert (trainer.batch_size, trainer.learning_rate) == (config.batch_size, config.learning_rate)
        assert trainer.iteration == 0
        assert trainer.can_train(self.datasets())

    def test_iterations_are_numbered_and_timed(self) -> None:
        trainer, model, optimizer = self.session()
        with trainer as entered:
            assert entered is trainer
            first = list(trainer.iterate(3, model, optimizer, CPU))
            assert trainer.iteration == 3
            more = list(trainer.iterate(2, model, optimizer, CPU))
        assert [stats.iteration for stats in first + more] == [0, 1, 2, 3, 4]
        assert np.isfinite([stats.loss for stats in first + more]).all()
        assert all(stats.time is not None and 0 < stats.time < 60 for stats in first + more)

    def test_iteration_is_done_when_its_statistics_come(self) -> None:
        trainer, model, optimizer = self.session()
        before = [parameter.detach().clone() for parameter in model.parameters()]
        with trainer:
            stats = next(iter(trainer.iterate(5, model, optimizer, CPU)))
            assert trainer.iteration == stats.iteration + 1 == 1
            assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))

    @pytest.mark.parametrize("count", [0, -1])
    def test_no_iterations_are_refused_at_once(self, count: int) -> None:
        trainer, model, optimizer = self.session()
        with trainer, pytest.raises(ValueError, match="num_iterations"):
            trainer.iterate(count, model, optimizer, CPU)

    def test_same_seed_same_training(self) -> None:
        runs = []
        for seed in (7, 7, 8):
            trainer, model, optimizer = self.session(seed)
            runs.append([stats.loss for stats in self.train(trainer, model, optimizer, 3)])
        assert runs[0] == runs[1]
        assert runs[0] != runs[2]

    def test_optimizer_starts_with_the_parameters_of_the_model(self) -> None:
        trainer, model, optimizer = self.session()
        held = itertools.chain.from_iterable(group["params"] for group in optimizer.param_groups)
        assert {id(p) for p in held} == {id(p) for p in model.parameters()}
        assert all(group["lr"] <= trainer.learning_rate for group in optimizer.param_groups)

    @pytest.mark.parametrize("interrupted_after", [1, 3, 4])
    def test_resumed_training_is_the_same_to_the_last_bit(self, interrupted_after: int) -> None:
        whole = self.session()
        losses = [stats.loss for stats in self.train(*whole, ITERATIONS)]

        first = self.session()
        with first[0]:
            for stats in first[0].iterate(ITERATIONS, first[1], first[2], CPU):
                if stats.iteration + 1 == interrupted_after:
                    break
        file = io.BytesIO()
        torch.save({"trainer": first[0].state_dict(), "parts": [part.state_dict() for part in first[1:]]}, file)
        file.seek(0)
        saved = torch.load(file, weights_only=True)

        second = self.session()
        second[0].load_state_dict(saved["trainer"])
        second[1].load_state_dict(saved["parts"][0])
        second[2].load_state_dict(saved["parts"][1])
        second[0].iteration = interrupted_after
        resumed = self.train(*second, ITERATIONS - interrupted_after)

        assert [stats.iteration for stats in resumed] == list(range(interrupted_after, ITERATIONS))
        assert [stats.loss for stats in resumed] == losses[interrupted_after:]
        for name, value in whole[1].state_dict().items():
            assert torch.equal(value, second[1].state_dict()[name]), name

    def test_states_of_other_trainers_are_refused(self) -> None:
        trainer, _, _ = self.session()
        trainer.load_state_dict({})
        with pytest.raises(TrainingError, match="another trainer"):
            trainer.load_state_dict({"of_something_else": 1})

    def test_errors_leave_the_context(self) -> None:
        trainer, _, _ = self.session()
        with pytest.raises(KeyError), trainer:
            raise KeyError("mine")
