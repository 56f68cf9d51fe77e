"""A loss for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .loss import Loss

if TYPE_CHECKING:
    import torch


class DummyLoss(Loss):
    """Sum absolute differences; weights are ignored."""

    def compute(
        self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the sum of absolute differences."""
        return (prediction - target).abs().sum()
