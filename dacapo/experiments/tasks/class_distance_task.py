"""The shared part of tasks that learn distances to the boundaries of classes."""

from __future__ import annotations

import attrs

from dacapo.experiments.config import field

from .checks import distances_problem, first_problem, names_problem
from .evaluators import BinarySegmentationEvaluator
from .task import TaskConfig


@attrs.define
class ClassDistanceTaskConfig(TaskConfig):
    """Base class of the configs of tasks that learn distances to the boundaries of classes."""

    channels: list[str] = field("Name of each class, in the order of the channels of the ground truth.")
    clip_distance: float = field("Upper limit of the distances of errors from a boundary in scores, in world units.")
    tol_distance: float = field("Distance from a boundary up to which scores tolerate errors, in world units.")
    scale_factor: float = field(
        "Distance in units of the data, mostly nanometers, at which targets begin to saturate: they are "
        "tanh(distance / scale_factor). About "
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
        """Return the evaluator for the segmentation of the classes."""
        return BinarySegmentationEvaluator(self.clip_distance, self.tol_distance, self.channels)
