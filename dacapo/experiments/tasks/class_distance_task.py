"""What the tasks that learn distances of classes share."""

from __future__ import annotations

import attrs

from dacapo.experiments.config import field

from .checks import distances_problem, first_problem, names_problem
from .evaluators import BinarySegmentationEvaluator
from .task import TaskConfig


@attrs.define
class ClassDistanceTaskConfig(TaskConfig):
    """Base of the configs of tasks that learn distances to the boundaries of classes."""

    channels: list[str] = field("Name of each class, in the order of the channels of the ground truth.")
    clip_distance: float = field("Errors farther from a boundary count as this far when scored, in world units.")
    tol_distance: float = field("Errors up to this far from a boundary are forgiven when scored, in world units.")
    scale_factor: float = field(
        "Distance in world units at which targets begin to saturate: they are tanh(distance / scale_factor). About "
        "half the width of an object is a good start.",
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

    def create_evaluator(self) -> BinarySegmentationEvaluator:
        """Return what scores the segmentation of the classes."""
        return BinarySegmentationEvaluator(self.clip_distance, self.tol_distance, self.channels)
