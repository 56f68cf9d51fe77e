"""The trainer: small batches, a high learning rate that decays, and augmentations that suit all data."""

from __future__ import annotations

from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.experiments.trainers.gp_augments import IntensityAugmentConfig, SimpleAugmentConfig


def default_trainer(iterations: int, seed: int | None = None) -> TorchTrainerConfig:
    """Return the trainer of a run.

    Args:
        iterations: Number of iterations of the run; its learning rate decays over them.
        seed: Seed of all randomness; by default one that follows from the name of the run.
    """
    return TorchTrainerConfig(
        name="trainer",
        batch_size=1,
        learning_rate=8e-3,
        num_data_fetchers=1,
        augments=[SimpleAugmentConfig(), IntensityAugmentConfig(scale=(0.8, 1.2), shift=(-0.2, 0.2), clip=False)],
        warmup_iterations=min(20, iterations // 2),
        decay_iterations=iterations,
        seed=seed,
    )
