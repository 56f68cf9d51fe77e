"""Segmentation of classes by signed distances."""

from __future__ import annotations

from typing import ClassVar

import attrs

from dacapo.experiments.config import field

from .checks import first_problem, limits_problem
from .class_distance_task import ClassDistanceTaskConfig
from .losses import MSELoss
from .post_processors import ThresholdPostProcessor
from .predictors import DistancePredictor
from .task import Task


class DistanceTask(Task):
    """Predict the signed distance to the boundary of each class, and threshold it."""

    def __init__(self, task_config: DistanceTaskConfig) -> None:
        """Build the four parts."""
        self.predictor = DistancePredictor(
            channels=task_config.channels,
            scale_factor=task_config.scale_factor,
            mask_distances=task_config.mask_distances,
            clipmin=task_config.clipmin,
            clipmax=task_config.clipmax,
        )
        self.loss = MSELoss()
        self.post_processor = ThresholdPostProcessor()
        self.evaluator = task_config.create_evaluator()


@attrs.define
class DistanceTaskConfig(ClassDistanceTaskConfig):
    """Configure the segmentation of classes by signed distances."""

    task_type: ClassVar[type[Task]] = DistanceTask

    mask_distances: bool = field(
        "Whether to ignore distances that a boundary outside the annotated region could change.",
        default=True,
    )
    clipmin: float = field(
        "Lower limit of the fraction of foreground or background from which weights are computed.", default=0.05
    )
    clipmax: float = field("Upper limit of that fraction.", default=0.95)

    def verify(self) -> tuple[bool, str]:
        """Check the limits too."""
        return first_problem(
            self,
            super().verify(),
            limits_problem("", self.clipmin, self.clipmax),
        )
