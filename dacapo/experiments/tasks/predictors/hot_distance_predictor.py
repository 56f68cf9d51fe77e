"""Prediction of classes together with the distances to their boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from dacapo.experiments.arraytypes import ProbabilityArray
from dacapo.experiments.datasplits.datasets.arrays.channels import read_channels_first
from dacapo.experiments.model import Model
from dacapo.utils.balance_weights import balance_weights

from .class_distance_predictor import ClassDistancePredictor, channel_distances
from .predictor import conv_head, per_channel, read_labels, read_mask, wrap_channels
from .torch_targets import Classes, SampleLabels, TorchTarget, mark_unknown

if TYPE_CHECKING:
    from funlib.geometry import Coordinate

    from dacapo.experiments.architectures.architecture import Architecture
    from dacapo.experiments.datasplits.datasets.arrays import Array


class HotDistanceActivation(torch.nn.Module):
    """Bring both halves of the channels into the range 0 to 1, with 0.5 at the boundary.

    The first half, logits of the classes, goes through a sigmoid. The second half, distances from -1 to 1, is clipped
    to that range and mapped linearly. So one threshold means the same in all channels.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Activate a prediction (batch, channel, spatial)."""
        hot, distance = x.chunk(2, dim=1)
        return torch.cat([hot.sigmoid(), (distance.clamp(-1, 1) + 1) / 2], dim=1)


class HotDistancePredictor(ClassDistancePredictor):
    """Predict whether a voxel belongs to each class, and the signed distance to the boundary of each class.

    The first half of the channels are the classes, the second half their distances.
    """

    def __init__(self, channels: Sequence[str], scale_factor: float, mask_distances: bool) -> None:
        """Set what to predict.

        Args:
            channels: Names of the classes.
            scale_factor: Distance in world units at which targets begin to saturate.
            mask_distances: Whether to leave out distances that unannotated boundaries could make wrong.

        Raises:
            ConfigError: If there is no class, or the scale is not positive.
        """
        super().__init__(channels, scale_factor, mask_distances)

    @property
    def embedding_dims(self) -> int:
        """Number of output channels, twice the number of classes."""
        return 2 * len(self.channels)

    @property
    def classes(self) -> list[str]:
        """Names of all output channels."""
        return [*self.channels, *(f"{channel}_distance" for channel in self.channels)]

    @property
    def channel_names(self) -> list[str]:
        """Names of all output channels."""
        return self.classes

    @property
    def output_array_type(self) -> ProbabilityArray:
        """Probabilities, and distances mapped to 0 to 1."""
        return ProbabilityArray(self.classes)

    def create_model(self, architecture: Architecture) -> Model:
        """Append a linear head with :class:`HotDistanceActivation` in eval mode."""
        return Model(
            architecture, conv_head(architecture, self.embedding_dims), eval_activation=HotDistanceActivation()
        )

    def create_weight(
        self, gt: Array, target: Array, mask: Array, moving_class_counts: npt.NDArray[np.float64] | None = None
    ) -> tuple[Array, npt.NDArray[np.float64]]:
        """Weight foreground and background of each class by their frequency.

        Voxels that are not annotated get weight 0; so do, if ``mask_distances`` and in the second half of the channels
        only, those whose distance cannot be trusted.

        Returns:
            Weights, and the counts of both halves, of shape (channel, class, 2).
        """
        labels = (read_labels(gt, len(self.channels), target.roi) != 0).astype(np.uint8)
        annotated = read_mask(mask, target.roi, labels.shape)
        trusted = annotated
        if self.mask_distances:
            trusted = self._trusted(read_channels_first(target)[len(self.channels) :], target.roi, mask)
        halves = [None, None] if moving_class_counts is None else np.split(np.asarray(moving_class_counts), 2)
        weights, counts = [], []
        for masks, half in zip([[annotated], [annotated, trusted]], halves, strict=True):
            known = None if half is None else half.tolist()
            weight, count = balance_weights(labels, 2, slab=per_channel(labels.shape), masks=masks, moving_counts=known)
            weights.append(weight)
            counts.append(np.array(count, dtype=np.float64))
        return wrap_channels(np.concatenate(weights), target), np.concatenate(counts)

    def torch_target(self, labels: SampleLabels) -> TorchTarget:
        """Return what `create_target` and `create_weight` do, as tensors.

        Raises:
            DtypeError: If labels are neither integers nor bool.
            ChannelMismatchError: If ground truth or mask have not one channel per class.
        """
        target, inside, known, trusted = self._torch_distances(labels)
        halves = [mark_unknown(inside, counted) for counted in (known, known & trusted)]
        return TorchTarget(torch.from_numpy(target), [Classes(torch.cat(halves))])

    def process(
        self,
        labels: npt.NDArray[Any],
        voxel_size: Coordinate,
        normalize: str | None = None,
        normalize_args: float | None = None,
    ) -> npt.NDArray[np.float32]:
        """Return each channel as 0 and 1, followed by the signed distances to the boundaries of each channel.

        Args:
            labels: Channels first, 0 is background.
            voxel_size: World units.
            normalize: "tanh" for tanh(distance / ``normalize_args``), None for world units.
            normalize_args: The scale, world units.
        """
        distances = channel_distances(labels, voxel_size, normalize, normalize_args)
        return np.concatenate([(labels != 0).astype(np.float32), distances])
