"""Segmentation of classes by how deep inside a voxel lies."""

from __future__ import annotations

from typing import ClassVar

import attrs

from dacapo.experiments.config import field

from .checks import distances_problem, first_problem, names_problem
from .evaluators import BinarySegmentationEvaluator
from .losses import MSELoss
from .post_processors import ThresholdPostProcessor
from .predictors import InnerDistancePredictor
from .task import Task, TaskConfig


class InnerDistanceTask(Task):
    """Predict the distance to the boundary inside of each class and 0 outside, and threshold it."""

    def __init__(self, task_config: InnerDistanceTaskConfig) -> None:
        """Build the four parts."""
        self.predictor = InnerDistancePredictor(
            channels=task_config.channels,
            scale_factor=task_config.scale_factor,
        )
        self.loss = MSELoss()
        self.post_processor = ThresholdPostProcessor()
        self.evaluator = BinarySegmentationEvaluator(
            clip_distance=task_config.clip_distance,
            tol_distance=task_config.tol_distance,
            channels=task_config.channels,
        )


@attrs.define
class InnerDistanceTaskConfig(TaskConfig):
    """Configure the segmentation of classes by how deep inside a voxel lies."""

    task_type: ClassVar[type[Task]] = InnerDistanceTask

    channels: list[str] = field("Name of each class, in the order of the channels of the ground truth.")
    clip_distance: float = field("Errors farther from a boundary count as this far when scored, in world units.")
    tol_distance: float = field("Errors up to this far from a boundary are forgiven when scored, in world units.")
    scale_factor: float = field(
        "Distance in world units at which targets begin to saturate: inside they are tanh(distance / scale_factor).",
        default=1,
    )

    def verify(self) -> tuple[bool, str]:
        """Check names and distances."""
        return first_problem(
            self,
            super().verify(),
            names_problem("channels", self.channels),
            distances_problem(self.clip_distance, self.tol_distance, self.scale_factor),
        )
