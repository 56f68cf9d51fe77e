"""Training on samples that a gunpowder pipeline makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

from .batch_trainer import BatchTrainer
from .batch_trainer_config import BatchTrainerConfig
from .sampler import PatchSampler
from .trainer import Trainer

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.tasks.task import Task

    from .regions import SampleRegions


class GunpowderTrainer(BatchTrainer):
    """Train on random samples of datasets, augmented on the CPU by the nodes of a gunpowder pipeline.

    Augmentations may be nothing but a node. All others change samples exactly as those of a ``TorchTrainer`` with the
    same seed on a CPU.
    """

    kind = "GunpowderTrainer"

    def _make_sampler(self, datasets: Sequence[Dataset], regions: SampleRegions, task: Task) -> PatchSampler:
        from .gunpowder_sampler import GunpowderSampler  # gunpowder takes long to import

        return GunpowderSampler(datasets, regions, task.predictor, self.augments, self.min_masked, self.clip_raw)


@attrs.define
class GunpowderTrainerConfig(BatchTrainerConfig):
    """Config of the trainer on samples of a gunpowder pipeline."""

    trainer_type: ClassVar[type[Trainer]] = GunpowderTrainer
