"""Loss of affinities and local shape descriptors."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dacapo.errors import ChannelMismatchError
from dacapo.utils.wording import in_channels

from .loss import Loss


class AffinitiesLoss(Loss):
    """Cross-entropy of affinities plus squared errors of descriptors; expects predictions before the sigmoid."""

    def __init__(self, num_affinities: int, lsds_to_affs_weight_ratio: float) -> None:
        """Set how the channels are divided.

        Args:
            num_affinities: Number of affinities, the first channels; the rest are descriptors.
            lsds_to_affs_weight_ratio: Weight of the loss of descriptors.
        """
        self.num_affinities = num_affinities
        self.lsds_to_affs_weight_ratio = lsds_to_affs_weight_ratio

    def compute(
        self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss of the affinities, plus the weighted loss of the descriptors if any.

        Raises:
            ChannelMismatchError: If the prediction has fewer channels than affinities.
        """
        count, channels = self.num_affinities, prediction.shape[1]
        if channels < count:
            raise ChannelMismatchError(f"the prediction has {in_channels(channels)}, too few for {count} affinities")
        weight = torch.ones_like(prediction) if weight is None else weight
        affinities = F.binary_cross_entropy_with_logits(prediction[:, :count], target[:, :count], reduction="none")
        loss = (affinities * weight[:, :count]).mean()
        if channels == count:
            return loss  # the mean of no descriptors would be nan
        descriptors = (prediction[:, count:].sigmoid() - target[:, count:]).square()
        return loss + self.lsds_to_affs_weight_ratio * (descriptors * weight[:, count:]).mean()
