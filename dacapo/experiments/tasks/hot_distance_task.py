"""Segmentation of classes by probabilities, learnt together with distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from dacapo.errors import ChannelMismatchError
from dacapo.experiments.config import field
from dacapo.experiments.datasplits.datasets.arrays import Array, VoxelwiseView

from .checks import distances_problem, first_problem, names_problem
from .evaluators import BinarySegmentationEvaluator
from .losses import HotDistanceLoss
from .post_processors import ThresholdPostProcessor
from .predictors import HotDistancePredictor
from .task import Task, TaskConfig

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier


class FirstChannels(VoxelwiseView):
    """Show the first channels of an array only."""

    def __init__(self, source: Array, num_channels: int) -> None:
        """Set what to show.

        Raises:
            ChannelMismatchError: If the array has fewer channels.
        """
        super().__init__(f"first {num_channels} channels of {source}", [source])
        available = 0 if source.channel_axis is None else source.num_channels or 0
        if available < num_channels:
            raise ChannelMismatchError(f"{source} has {available} channels; at least {num_channels} are needed")
        self._num_channels = num_channels

    @property
    def num_channels(self) -> int:
        return self._num_channels

    def _compute(self, *values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.take(values[0], range(self._num_channels), axis=self.channel_axis)


class HotThresholdPostProcessor(ThresholdPostProcessor):
    """Threshold the classes of a hot distance prediction; its distances only help learning."""

    def __init__(self, channels: Sequence[str]) -> None:
        """Set the names of the classes, which are the first half of the channels of a prediction."""
        super().__init__()
        self.channels = list(channels)

    def set_prediction(self, prediction_array_identifier: LocalArrayIdentifier) -> None:
        """Open the prediction that the next calls of :meth:`process` read.

        Raises:
            ArrayNotFoundError: If there is none.
            ChannelMismatchError: If it has fewer channels than there are classes.
        """
        super().set_prediction(prediction_array_identifier)
        self._prediction_array = FirstChannels(self.prediction_array, len(self.channels))


class HotDistanceTask(Task):
    """Predict the probability of each class and the distance to its boundary, and threshold the probability."""

    def __init__(self, task_config: HotDistanceTaskConfig) -> None:
        """Build the four parts."""
        self.predictor = HotDistancePredictor(
            channels=task_config.channels,
            scale_factor=task_config.scale_factor,
            mask_distances=task_config.mask_distances,
        )
        self.loss = HotDistanceLoss()
        self.post_processor = HotThresholdPostProcessor(task_config.channels)
        self.evaluator = BinarySegmentationEvaluator(
            clip_distance=task_config.clip_distance,
            tol_distance=task_config.tol_distance,
            channels=task_config.channels,
        )


@attrs.define
class HotDistanceTaskConfig(TaskConfig):
    """Configure the segmentation of classes by probabilities, learnt together with distances."""

    task_type: ClassVar[type[Task]] = HotDistanceTask

    channels: list[str] = field("Name of each class, in the order of the channels of the ground truth.")
    clip_distance: float = field("Errors farther from a boundary count as this far when scored, in world units.")
    tol_distance: float = field("Errors up to this far from a boundary are forgiven when scored, in world units.")
    scale_factor: float = field(
        "Distance in world units at which targets begin to saturate: they are tanh(distance / scale_factor).",
        default=1,
    )
    mask_distances: bool = field(
        "Whether to leave out distances that a boundary outside of the annotated region could make wrong.",
        default=False,
    )

    def verify(self) -> tuple[bool, str]:
        """Check names and distances."""
        return first_problem(
            self,
            super().verify(),
            names_problem("channels", self.channels),
            distances_problem(self.clip_distance, self.tol_distance, self.scale_factor),
        )
