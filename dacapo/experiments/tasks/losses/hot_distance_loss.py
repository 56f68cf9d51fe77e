"""Loss of classes and the distances to their boundaries."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dacapo.errors import ChannelMismatchError
from dacapo.utils.wording import in_channels

from .loss import Loss
from .mse_loss import weighted_mse


class HotDistanceLoss(Loss):
    """Cross-entropy of the first half of the channels (logits) plus the mean squared error of the second half."""

    def compute(
        self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the sum of both losses.

        Raises:
            ChannelMismatchError: If the number of channels is odd.
        """
        weight = torch.ones_like(prediction) if weight is None else weight
        hot, distance = self.split(prediction)
        hot_target, distance_target = self.split(target)
        hot_weight, distance_weight = self.split(weight)
        return self.hot_loss(hot, hot_target, hot_weight) + self.distance_loss(
            distance, distance_target, distance_weight
        )

    def hot_loss(self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return the weighted mean cross-entropy between logits and classes."""
        return (F.binary_cross_entropy_with_logits(prediction, target, reduction="none") * weight).mean()

    def distance_loss(self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return the mean squared error; the square of the weight counts, as in :class:`MSELoss`."""
        return weighted_mse(prediction, target, weight)

    def split(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Divide a tensor (batch, channel, spatial) into the first and the second half of its channels.

        Raises:
            ChannelMismatchError: If the number of channels is odd.
        """
        channels = x.shape[1]
        if channels % 2:
            raise ChannelMismatchError(
                f"{in_channels(channels)} (shape {tuple(x.shape)}) cannot be divided into as many classes "
                "as distances; their number must be even"
            )
        hot, distance = x.chunk(2, dim=1)
        return hot, distance
