"""Segmentation of classes by probabilities, learned together with distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from dacapo.errors import ChannelMismatchError
from dacapo.experiments.config import field
from dacapo.experiments.datasplits.datasets.arrays import Array, VoxelwiseView
from dacapo.utils.wording import in_channels

from .class_distance_task import ClassDistanceTaskConfig
from .losses import HotDistanceLoss
from .post_processors import ThresholdPostProcessor
from .predictors import HotDistancePredictor
from .task import Task

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier


class FirstChannels(VoxelwiseView):
    """Show only the first channels of an array."""

    def __init__(self, source: Array, num_channels: int) -> None:
        """Set the array and the number of channels.

        Raises:
            ChannelMismatchError: If the array has fewer channels.
        """
        super().__init__(f"first {num_channels} channels of {source}", [source])
        available = 0 if source.channel_axis is None else source.num_channels or 0
        if available < num_channels:
            raise ChannelMismatchError(f"{source} has {in_channels(available)}, expected at least {num_channels}")
        self._num_channels = num_channels

    @property
    def num_channels(self) -> int:
        return self._num_channels

    def _compute(self, *values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.take(values[0], range(self._num_channels), axis=self.channel_axis)


class HotThresholdPostProcessor(ThresholdPostProcessor):
    """Threshold the classes of a hot distance prediction; its distances only improve the learning."""

    def __init__(self, channels: Sequence[str]) -> None:
        """Set the names of the classes, which are the first half of the channels of a prediction."""
        super().__init__()
        self.channels = list(channels)

    def set_prediction(self, prediction_array_identifier: LocalArrayIdentifier) -> None:
        """Open the prediction that subsequent calls of :meth:`process` read.

        Raises:
            ArrayNotFoundError: If it does not exist.
            ChannelMismatchError: If it has fewer channels than classes.
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
        self.evaluator = task_config.create_evaluator()


@attrs.define
class HotDistanceTaskConfig(ClassDistanceTaskConfig):
    """Configure the segmentation of classes by probabilities, learned together with distances."""

    task_type: ClassVar[type[Task]] = HotDistanceTask

    mask_distances: bool = field(
        "Whether to ignore distances that a boundary outside the annotated region could change.",
        default=False,
    )
