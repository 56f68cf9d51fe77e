"""A trainer that cannot be built once the environment says so, in this process or another one."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import attrs

from dacapo.experiments.trainers import Trainer
from dacapo.experiments.trainers.torch_trainer import TorchTrainer, TorchTrainerConfig

FORBIDDEN = "DACAPO_TEST_TRAINER_IS_FORBIDDEN"


class ForbiddenTrainer(TorchTrainer):
    def __init__(self, trainer_config: Any) -> None:
        assert FORBIDDEN not in os.environ, "a trainer was built"
        super().__init__(trainer_config)


@attrs.define
class ForbiddenTrainerConfig(TorchTrainerConfig):
    trainer_type: ClassVar[type[Trainer]] = ForbiddenTrainer
