"""Segmentation of classes by the depth of a voxel inside its class."""

from __future__ import annotations

from typing import ClassVar

import attrs

from .class_distance_task import ClassDistanceTaskConfig
from .losses import MSELoss
from .post_processors import ThresholdPostProcessor
from .predictors import InnerDistancePredictor
from .task import Task


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
        self.evaluator = task_config.create_evaluator()


@attrs.define
class InnerDistanceTaskConfig(ClassDistanceTaskConfig):
    """Configure the segmentation of classes by the depth of a voxel inside its class."""

    task_type: ClassVar[type[Task]] = InnerDistanceTask
