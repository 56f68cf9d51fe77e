"""The interface of loggers, which follow a training and show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from dacapo.errors import DuplicateNameError
from dacapo.experiments.loggers.snapshot_images import snapshot_images
from dacapo.experiments.loggers.validation_values import best_text, validation_values

if TYPE_CHECKING:
    from dacapo.experiments.run import Run
    from dacapo.experiments.training_iteration_stats import TrainingIterationStats
    from dacapo.experiments.validation_iteration_scores import ValidationIterationScores

known_loggers: dict[str, type[Logger]] = {}
"""All logger classes by name."""


class Logger:
    """Follow a training; all methods do nothing, or turn what happened into values for :meth:`log_values`.

    Override what you need: ``log_values`` alone, or ``log_iteration`` and ``log_validation`` for more than values. Only
    rank 0 calls them. An error that a method raises ends the training after it was saved. Defining a subclass makes it
    known by its name, so that the option ``loggers`` and ``dacapo train --logger`` find it; they create it without
    arguments.

    Attributes:
        name: Name of the logger; by default the name of the class.
        shows_images: Whether :meth:`log_images` gets the snapshots of the trainer.
    """

    name: ClassVar[str] = "Logger"
    shows_images: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = cls.__dict__.get("name", cls.__name__)
        known = known_loggers.get(cls.name, cls)
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise DuplicateNameError(
                f"logger {cls.__module__}.{cls.__qualname__} has the name {cls.name!r} of "
                f"{known.__module__}.{known.__qualname__}; give it another one"
            )
        known_loggers[cls.name] = cls

    def start(self, run: Run) -> None:
        """Begin, or go on with the log of a resumed training.

        Args:
            run: The run, with statistics and scores until the checkpoint that training resumes from. An earlier
                training may have logged later iterations than that before it was killed; they will be logged again,
                with the same values on a CPU.
        """

    def log_iteration(self, run: Run, stats: TrainingIterationStats) -> None:
        """Log an iteration; called after each, so it should be quick."""
        step = stats.iteration + 1
        rate = float(run.optimizer.param_groups[0]["lr"])
        self.log_values({"loss": stats.loss, "learning_rate": rate}, step)
        interval = run.trainer.snapshot_interval
        if self.shows_images and interval is not None and stats.iteration % interval == 0:
            self.log_images(snapshot_images(run, stats.iteration), step)

    def log_validation(self, run: Run, scores: ValidationIterationScores, seconds: float) -> None:
        """Log a validation.

        Args:
            run: The run; ``validation_scores`` holds all scores so far, these included.
            scores: The scores of the validation.
            seconds: Its duration.
        """
        self.log_values(validation_values(run, scores), scores.iteration)
        self.log_text("validation/best", best_text(run, scores), scores.iteration)

    def log_values(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers by name.

        Args:
            values: The numbers; ``validation_values`` lists those of validations.
            step: Number of iterations that are done.
        """

    def log_text(self, name: str, text: str, step: int) -> None:
        """Log a text."""

    def log_images(self, images: Mapping[str, npt.NDArray[np.uint8]], step: int) -> None:
        """Log images by name, axes y, x, and maybe color."""

    def finish(self, run: Run, failed: bool) -> None:
        """End the log of a training that has reached its end or was stopped; all of it is saved.

        Args:
            run: The run.
            failed: Whether an error ends the training.
        """
