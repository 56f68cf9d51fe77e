"""Logs for Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from dacapo.experiments.loggers.logged_until import LoggedUntil
from dacapo.experiments.loggers.logger import Logger
from dacapo.experiments.loggers.public_config import public_config
from dacapo.experiments.loggers.validation_values import latest_validation
from dacapo.ext import optional_module
from dacapo.store.run_folder import WANDB, run_folder

if TYPE_CHECKING:
    from dacapo.experiments.run import Run
    from dacapo.experiments.training_iteration_stats import TrainingIterationStats
    from dacapo.experiments.validation_iteration_scores import ValidationIterationScores

PROJECT = "dacapo"
FILE = "logged_until"


class WandbLogger(Logger):
    """Logs to Weights & Biases, as its environment variables say; files are in ``<runs_base_dir>/<run>/wandb``.

    A resumed training goes on in the same run there. The key is taken from ``$WANDB_API_KEY`` or ``wandb login``, never
    from a config or an option.
    """

    name: ClassVar[str] = "wandb"
    shows_images: ClassVar[bool] = True

    _log: Any
    _until: LoggedUntil

    def __init__(self) -> None:
        """Import the package.

        Raises:
            MissingDependencyError: If it is not installed.
        """
        self._wandb: Any = optional_module("wandb", "logs for Weights & Biases need the package wandb")

    def start(self, run: Run) -> None:
        folder = run_folder(run.name)
        self._until = LoggedUntil(folder / WANDB / FILE, uuid4().hex[:16], run.training_stats.trained_until())
        self._log = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=os.environ.get("WANDB_DIR", str(folder)),
            id=self._until.log,
            name=run.name,
            config=public_config(run),
            resume="allow",
            reinit="create_new",  # leave alone a run of the script around this training
            settings=self._wandb.Settings(console="off"),  # what a terminal shows is not ours to send
        )
        criterion = run.task.evaluation_scores.default_criterion
        if criterion is not None:
            higher = run.task.evaluation_scores.higher_is_better(criterion)
            self._log.define_metric(f"validation/{criterion}", summary="max" if higher else "min")
        if (scores := latest_validation(run)) is not None:  # a process that was killed may have saved and not logged it
            self.log_validation(run, scores, 0.0)

    def log_iteration(self, run: Run, stats: TrainingIterationStats) -> None:
        if self._until.is_new_iteration(stats.iteration + 1):
            super().log_iteration(run, stats)

    def log_validation(self, run: Run, scores: ValidationIterationScores, seconds: float) -> None:
        if self._until.is_new_validation(scores.iteration):
            super().log_validation(run, scores, seconds)

    def log_values(self, values: Mapping[str, float], step: int) -> None:
        self._log.log(dict(values), step=step)

    def log_text(self, name: str, text: str, step: int) -> None:
        self._log.log({name: text}, step=step)

    def log_images(self, images: Mapping[str, npt.NDArray[np.uint8]], step: int) -> None:
        shown = {f"snapshot/{name}": self._wandb.Image(image) for name, image in images.items()}
        self._log.log(shown, step=step)

    def finish(self, run: Run, failed: bool) -> None:
        self._until.close()
        self._log.finish(exit_code=int(failed))
