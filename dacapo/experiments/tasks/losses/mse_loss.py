"""Mean squared error."""

from __future__ import annotations

import torch

from .loss import Loss


class MSELoss(Loss):
    """Average weighted squared differences; the weight is applied before squaring, so its square counts."""

    def compute(
        self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the mean of (weight * (prediction - target)) squared, over all values."""
        return weighted_mse(prediction, target, weight)


def weighted_mse(prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Return the mean of (weight * (prediction - target)) squared, over all values."""
    difference = prediction - target
    if weight is not None:
        difference = difference * weight
    return difference.square().mean()
