"""Segmentation of classes by signed distances."""

from __future__ import annotations

from typing import ClassVar

import attrs

from dacapo.experiments.config import field

from .checks import distances_problem, first_problem, limits_problem, names_problem
from .evaluators import BinarySegmentationEvaluator
from .losses import MSELoss
from .post_processors import ThresholdPostProcessor
from .predictors import DistancePredictor
from .task import Task, TaskConfig


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
        self.evaluator = BinarySegmentationEvaluator(
            clip_distance=task_config.clip_distance,
            tol_distance=task_config.tol_distance,
            channels=task_config.channels,
        )


@attrs.define
class DistanceTaskConfig(TaskConfig):
    """Configure the segmentation of classes by signed distances."""

    task_type: ClassVar[type[Task]] = DistanceTask

    channels: list[str] = field("Name of each class, in the order of the channels of the ground truth.")
    clip_distance: float = field("Errors farther from a boundary count as this far when scored, in world units.")
    tol_distance: float = field("Errors up to this far from a boundary are forgiven when scored, in world units.")
    scale_factor: float = field(
        "Distance in world units at which targets begin to saturate: they are tanh(distance / scale_factor). About "
        "half the width of an object is a good start.",
        default=1,
    )
    mask_distances: bool = field(
        "Whether to leave out distances that a boundary outside of the annotated region could make wrong.",
        default=True,
    )
    clipmin: float = field(
        "Lower limit of the fraction of foreground or background from which weights are computed.", default=0.05
    )
    clipmax: float = field("Upper limit of that fraction.", default=0.95)

    def verify(self) -> tuple[bool, str]:
        """Check names, distances and limits."""
        return first_problem(
            self,
            super().verify(),
            names_problem("channels", self.channels),
            distances_problem(self.clip_distance, self.tol_distance, self.scale_factor),
            limits_problem("", self.clipmin, self.clipmax),
        )
