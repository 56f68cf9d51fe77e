"""Training on samples that are augmented as tensors."""

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


class TorchTrainer(BatchTrainer):
    """Train on random samples of datasets, augmented as tensors, on a GPU if the network is there.

    Worker processes read the arrays of the samples. With a GPU, this process copies them there in a stream of its own
    while the network computes on the previous batch, augments them there, and makes the targets. Without a GPU, the
    workers do all of that. Noise is drawn on the device; all other random numbers are the same on every device.
    """

    kind = "TorchTrainer"

    def _make_sampler(self, datasets: Sequence[Dataset], regions: SampleRegions, task: Task) -> PatchSampler:
        return PatchSampler(datasets, regions, task.predictor, self.augments, self.min_masked, self.clip_raw)


@attrs.define
class TorchTrainerConfig(BatchTrainerConfig):
    """Config of the trainer on samples that are augmented as tensors."""

    trainer_type: ClassVar[type[Trainer]] = TorchTrainer

    def problem(self) -> str | None:
        """Return what is wrong with the settings, or None."""
        problem = super().problem()
        if problem is not None:
            return problem
        for augment in self.augments:
            if not augment.works_on_tensors:
                return (
                    f"{type(augment).__name__} changes samples as a node of gunpowder only; use a "
                    "GunpowderTrainerConfig, or give the augmentation a method torch_augment"
                )
        return None
