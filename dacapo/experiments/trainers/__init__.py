"""Trainers: how batches are made and the optimizer is stepped."""

from dacapo.utils.aliases import alias_modules

from .dummy_trainer import DummyTrainer, DummyTrainerConfig
from .trainer import Trainer, TrainerConfig

__all__ = ["DummyTrainer", "DummyTrainerConfig", "Trainer", "TrainerConfig"]

alias_modules(__name__, {"dummy_trainer_config": "dummy_trainer", "trainer_config": "trainer"})
