"""Trainers, which make batches and step the optimizer."""

from dacapo.utils.aliases import alias_modules

from .batch_trainer import BatchTrainer
from .batch_trainer_config import BatchTrainerConfig
from .dummy_trainer import DummyTrainer, DummyTrainerConfig
from .gp_augments import (
    AugmentConfig,
    ElasticAugmentConfig,
    GammaAugmentConfig,
    IntensityAugmentConfig,
    IntensityScaleShiftAugmentConfig,
    NoiseAugmentConfig,
    SimpleAugmentConfig,
)
from .gunpowder_trainer import GunpowderTrainer, GunpowderTrainerConfig
from .torch_trainer import TorchTrainer, TorchTrainerConfig
from .trainer import Trainer, TrainerConfig

__all__ = [
    "AugmentConfig",
    "BatchTrainer",
    "BatchTrainerConfig",
    "DummyTrainer",
    "DummyTrainerConfig",
    "ElasticAugmentConfig",
    "GammaAugmentConfig",
    "GunpowderTrainer",
    "GunpowderTrainerConfig",
    "IntensityAugmentConfig",
    "IntensityScaleShiftAugmentConfig",
    "NoiseAugmentConfig",
    "SimpleAugmentConfig",
    "TorchTrainer",
    "TorchTrainerConfig",
    "Trainer",
    "TrainerConfig",
]

alias_modules(
    __name__,
    {
        "dummy_trainer_config": "dummy_trainer",
        "gunpowder_trainer_config": "gunpowder_trainer",
        "optimizers": "schedule",
        "trainer_config": "trainer",
    },
)
