"""Prediction of signed distances to boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from dacapo.experiments.arraytypes import DistanceArray
from dacapo.experiments.datasplits.datasets.arrays.channels import read_channels_first
from dacapo.experiments.model import Model
from dacapo.utils.balance_weights import MovingCounts, balance_weights

from .class_distance_predictor import ClassDistancePredictor, channel_distances
from .predictor import conv_head, per_channel, read_labels, read_mask, wrap_channels
from .torch_targets import Classes, SampleLabels, TorchTarget, mark_unknown

if TYPE_CHECKING:
    from typing import Any

    from funlib.geometry import Coordinate

    from dacapo.experiments.architectures.architecture import Architecture
    from dacapo.experiments.datasplits.datasets.arrays import Array


class DistancePredictor(ClassDistancePredictor):
    """Predict for every class the distance to its boundary, positive inside and negative outside."""

    def __init__(
        self,
        channels: Sequence[str],
        scale_factor: float,
        mask_distances: bool,
        clipmin: float = 0.05,
        clipmax: float = 0.95,
    ) -> None:
        """Set what to predict.

        Args:
            channels: Names of the classes.
            scale_factor: Distance in world units at which targets begin to saturate.
            mask_distances: Whether to leave out distances that unannotated boundaries could make wrong.
            clipmin: Lower limit of the fraction of foreground or background when voxels are weighted.
            clipmax: Upper limit of it.

        Raises:
            ConfigError: If there is no class, or the scale is not positive.
        """
        super().__init__(channels, scale_factor, mask_distances)
        self.clipmin = clipmin
        self.clipmax = clipmax

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
        """From -1, far outside, to 1, deep inside."""
        return -1.0, 1.0

    @property
    def output_array_type(self) -> DistanceArray:
        """Distances of the classes."""
        return DistanceArray(dict(enumerate(self.channels)))

    def create_model(self, architecture: Architecture) -> Model:
        """Append a linear head, whose output is clipped to -1 to 1 in eval mode.

        Targets are tanh of distances already, and the loss compares them with the output as it is. Another tanh on
        top would make predictions smaller than what they were trained for.
        """
        return Model(architecture, conv_head(architecture, self.embedding_dims), eval_activation=torch.nn.Hardtanh())

    def create_weight(
        self, gt: Array, target: Array, mask: Array, moving_class_counts: MovingCounts | None = None
    ) -> tuple[Array, MovingCounts]:
        """Weight foreground and background of each class by their frequency.

        Voxels that are not annotated get weight 0, and if ``mask_distances`` those whose distance cannot be trusted.
        """
        labels = (read_labels(gt, len(self.channels), target.roi) != 0).astype(np.uint8)
        masks = [read_mask(mask, target.roi, labels.shape)]
        if self.mask_distances:
            masks.append(self._trusted(read_channels_first(target), target.roi, mask))
        weights, counts = balance_weights(
            labels,
            2,
            slab=per_channel(labels.shape),
            masks=masks,
            clipmin=self.clipmin,
            clipmax=self.clipmax,
            moving_counts=moving_class_counts,
        )
        return wrap_channels(weights, target), counts

    def torch_target(self, labels: SampleLabels) -> TorchTarget:
        """Return what `create_target` and `create_weight` do, as tensors.

        Raises:
            DtypeError: If labels are neither integers nor bool.
            ChannelMismatchError: If ground truth or mask have not one channel per class.
        """
        distances, inside, known, trusted = self._torch_distances(labels)
        return TorchTarget(
            torch.from_numpy(distances),
            [Classes(mark_unknown(inside, known & trusted), clipmin=self.clipmin, clipmax=self.clipmax)],
        )

    def process(
        self,
        labels: npt.NDArray[Any],
        voxel_size: Coordinate,
        normalize: str | None = None,
        normalize_args: float | None = None,
    ) -> npt.NDArray[np.float32]:
        """Compute the signed distance of every voxel to the nearest boundary of each channel.

        Args:
            labels: Channels first, 0 is background.
            voxel_size: World units.
            normalize: "tanh" for tanh(distance / ``normalize_args``), None for world units.
            normalize_args: The scale, world units.
        """
        return channel_distances(labels, voxel_size, normalize, normalize_args)
