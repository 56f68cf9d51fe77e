"""The complete description of a run."""

from __future__ import annotations

import attrs

from dacapo.experiments.architectures import ArchitectureConfig
from dacapo.experiments.config import Config, field
from dacapo.experiments.datasplits import DataSplitConfig
from dacapo.experiments.fit import find_misfit
from dacapo.experiments.starts import StartConfig
from dacapo.experiments.tasks import TaskConfig
from dacapo.experiments.trainers import TrainerConfig


@attrs.define
class RunConfig(Config):
    """The task to learn, the network, the trainer, and the data."""

    task_config: TaskConfig = field("The task to learn.")
    architecture_config: ArchitectureConfig = field("The network.")
    trainer_config: TrainerConfig = field("How to make batches and train the network.")
    datasplit_config: DataSplitConfig = field("The data for training and validation.")
    name: str = field("Name of the run and of its folder.", alters_training=False)
    repetition: int = field("Number of the repetition of the same experiment, counted from 0.")
    num_iterations: int = field("Number of iterations to train for.", alters_training=False)
    validation_interval: int = field(
        "Number of iterations between validations, each with a checkpoint.", default=1000, alters_training=False
    )
    start_config: StartConfig | None = field("Initial weights, from an earlier run.", default=None)

    def verify(self) -> tuple[bool, str]:
        """Check the run's own values, then each part, then whether the parts fit together.

        Returns:
            Whether the run can work, and a sentence about the first problem.
        """
        for name in ("num_iterations", "validation_interval"):
            if getattr(self, name) <= 0:
                return False, f"{name} must be at least 1, got {getattr(self, name)}"
        works, why = super().verify()
        misfit = find_misfit(self) if works else None
        return (works, why) if misfit is None else (False, misfit)
