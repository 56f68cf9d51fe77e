"""Segmentation of mutually exclusive classes."""

from __future__ import annotations

from typing import ClassVar

import attrs

from dacapo.experiments.config import field

from .checks import distances_problem, first_problem, names_problem
from .evaluators import BinarySegmentationEvaluator
from .losses import CrossEntropyLoss
from .post_processors import ArgmaxPostProcessor
from .predictors import OneHotPredictor
from .task import Task, TaskConfig


class OneHotTask(Task):
    """Predict the probability of each class, and assign the most likely class to every voxel."""

    def __init__(self, task_config: OneHotTaskConfig) -> None:
        """Build the four parts."""
        self.predictor = OneHotPredictor(classes=task_config.classes)
        self.loss = CrossEntropyLoss()
        self.post_processor = ArgmaxPostProcessor()
        self.evaluator = BinarySegmentationEvaluator(
            clip_distance=task_config.clip_distance,
            tol_distance=task_config.tol_distance,
            channels=task_config.classes,
        )


@attrs.define
class OneHotTaskConfig(TaskConfig):
    """Configure the segmentation of mutually exclusive classes."""

    task_type: ClassVar[type[Task]] = OneHotTask

    classes: list[str] = field("Name of the class of each label, starting with label 0 (often background).")
    clip_distance: float = field(
        "Upper limit of the distances of errors from a boundary in scores, in world units.", default=100
    )
    tol_distance: float = field(
        "Distance from a boundary up to which scores tolerate errors, in world units.", default=0
    )

    def verify(self) -> tuple[bool, str]:
        """Check the names and distances."""
        return first_problem(
            self,
            super().verify(),
            names_problem("classes", self.classes),
            "classes names a single class, which leaves nothing to learn; name the background too"
            if len(self.classes) == 1
            else None,
            distances_problem(self.clip_distance, self.tol_distance),
        )
