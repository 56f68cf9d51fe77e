"""Prediction of how deep inside an object a voxel lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from dacapo.experiments.arraytypes import DistanceArray
from dacapo.experiments.model import Model
from dacapo.utils.balance_weights import MovingCounts, balance_weights

from .class_distances import ClassDistancePredictor, channel_distances
from .predictor import conv_head, per_channel, read_labels, read_mask, wrap_channels

if TYPE_CHECKING:
    from funlib.geometry import Coordinate

    from dacapo.experiments.architectures.architecture import Architecture
    from dacapo.experiments.datasplits.datasets.arrays import Array


class InnerDistancePredictor(ClassDistancePredictor):
    """Predict for every class the distance to its boundary inside, and 0 outside."""

    def __init__(self, channels: Sequence[str], scale_factor: float) -> None:
        """Set what to predict.

        Args:
            channels: Names of the classes.
            scale_factor: Distance in world units at which targets begin to saturate.

        Raises:
            ConfigError: If there is no class, or the scale is not positive.
        """
        super().__init__(channels, scale_factor, mask_distances=False)

    @property
    def embedding_dims(self) -> int:
        """Number of classes."""
        return len(self.channels)

    @property
    def channel_names(self) -> list[str]:
        """Names of the classes."""
        return list(self.channels)

    @property
    def output_range(self) -> tuple[float, float]:
        """The same as of signed distances: targets are not negative, but predictions may be."""
        return -1.0, 1.0

    @property
    def output_array_type(self) -> DistanceArray:
        """Distances of the classes."""
        return DistanceArray(dict(enumerate(self.channels)))

    def create_model(self, architecture: Architecture) -> Model:
        """Append a linear head, whose output is clipped to -1 to 1 in eval mode."""
        return Model(architecture, conv_head(architecture, self.embedding_dims), eval_activation=torch.nn.Hardtanh())

    def create_target(self, gt: Array) -> Array:
        """Compute tanh(distance / scale) inside of every class and 0 outside.

        Raises:
            DtypeError: If labels are neither integers nor bool.
            ChannelMismatchError: If ground truth has not one channel per class.
        """
        labels = read_labels(gt, len(self.channels))
        return wrap_channels(self.process(labels, gt.voxel_size, "tanh", self.scale_factor), gt)

    def create_weight(
        self, gt: Array, target: Array, mask: Array, moving_class_counts: MovingCounts | None = None
    ) -> tuple[Array, MovingCounts]:
        """Weight foreground and background of each class by their frequency; unannotated voxels get weight 0."""
        labels = (read_labels(gt, len(self.channels), target.roi) != 0).astype(np.uint8)
        weights, counts = balance_weights(
            labels,
            2,
            slab=per_channel(labels.shape),
            masks=[read_mask(mask, target.roi, labels.shape)],
            moving_counts=moving_class_counts,
        )
        return wrap_channels(weights, target), counts

    def process(
        self,
        labels: npt.NDArray[Any],
        voxel_size: Coordinate,
        normalize: str | None = None,
        normalize_args: float | None = None,
    ) -> npt.NDArray[np.float32]:
        """Compute the distance of every voxel inside to the nearest boundary of each channel, 0 outside.

        Args:
            labels: Channels first, 0 is background.
            voxel_size: World units.
            normalize: "tanh" for tanh(distance / ``normalize_args``), None for world units.
            normalize_args: The scale, world units.
        """
        distances = channel_distances(labels, voxel_size, normalize, normalize_args)
        return np.maximum(distances, 0, out=distances)
