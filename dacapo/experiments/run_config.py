"""The complete description of a run."""

from __future__ import annotations

import attrs

from dacapo.errors import DacapoError
from dacapo.experiments.architectures import ArchitectureConfig
from dacapo.experiments.config import Config, building_once, field
from dacapo.experiments.datasplits import DataSplitConfig
from dacapo.experiments.early_stopping import EarlyStoppingConfig
from dacapo.experiments.fit import check_training, check_validation
from dacapo.experiments.run import Run
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
    early_stopping: EarlyStoppingConfig | None = field(
        "When to end a training that no longer improves; by default never.", default=None, alters_training=False
    )

    def verify(self) -> tuple[bool, str]:
        """Check the run's own values, then each part, then whether the parts fit together.

        Returns:
            Whether the run can work, and a sentence about the first problem.
        """
        problem = self.value_problem()
        if problem is not None:
            return False, " ".join(problem)
        with building_once():
            works, why = super().verify()
            misfit = self._misfit() if works else None
        return (works, why) if misfit is None else (False, misfit)

    def _misfit(self) -> str | None:
        """Return the first problem that keeps the parts from working together, with its path, or None.

        Opens files and builds networks, but reads no voxels. Assumes that each part has been checked on its own.
        """
        try:
            run = Run.to_train(self)
            check_validation(run)
            check_training(run)
        except DacapoError as error:
            return str(error)
        return None

    def value_problem(self) -> tuple[str, str] | None:
        """Return the first field of the run itself with a wrong value, and the problem; None if all are valid."""
        for name in ("num_iterations", "validation_interval"):
            if getattr(self, name) <= 0:
                return name, f"must be at least 1, got {getattr(self, name)}"
        return None
