"""Loss of mutually exclusive classes."""

from __future__ import annotations

import torch

from .loss import Loss


class CrossEntropyLoss(Loss):
    """Cross-entropy between one-hot targets and predictions before the softmax.

    A voxel whose target is 0 in all channels belongs to no known class and contributes nothing.
    """

    def compute(
        self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the weighted negative log-probability of the correct class, averaged over all voxels."""
        losses = -prediction.log_softmax(dim=1) * target.to(prediction.dtype)
        if weight is not None:
            losses = losses * weight.to(prediction.dtype)
        return losses.sum(dim=1).mean()
