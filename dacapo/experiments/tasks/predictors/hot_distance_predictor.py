"""Prediction of classes together with the distances to their boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from dacapo.experiments.arraytypes import ProbabilityArray
from dacapo.experiments.model import Model
from dacapo.utils.balance_weights import MovingCounts

from .class_distance_predictor import ClassDistancePredictor
from .class_weights import Classes, mark_unknown
from .predictor import conv_head
from .sample_labels import SampleLabels

if TYPE_CHECKING:
    from dacapo.experiments.architectures.architecture import Architecture


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

    def weight_classes(self, labels: SampleLabels, target: torch.Tensor) -> list[Classes]:
        """Return foreground and background of each class, for both halves of the channels.

        Both are unknown where voxels are not annotated and, if ``mask_distances`` and in the second half only, where
        the distance cannot be trusted.
        """
        inside, known, trusted = self.classes_and_trust(labels, target[len(self.channels) :])
        return [Classes(torch.cat([mark_unknown(inside, counted) for counted in (known, trusted)]))]

    def pack_counts(self, counts: Sequence[MovingCounts | None]) -> npt.NDArray[np.float64]:
        """Return the counts of both halves as an array of shape (channel, class, 2)."""
        return np.array(counts[0], dtype=np.float64)

    def from_distances(self, labels: npt.NDArray[Any], distances: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return each class as 0 and 1, followed by the signed distances."""
        return np.concatenate([(labels != 0).astype(np.float32), distances])
