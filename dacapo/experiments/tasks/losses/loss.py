"""The base class of all losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from dacapo.utils.plain_repr import plain_repr

if TYPE_CHECKING:
    import torch


class Loss(ABC):
    """Compare a prediction with its target."""

    def __repr__(self) -> str:
        return plain_repr(self)

    @abstractmethod
    def compute(
        self, prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss as a differentiable tensor with one element.

        Args:
            prediction: Output of the model in train mode, before any eval activation (batch, channel, spatial).
            target: Target computed by the predictor, of the same shape.
            weight: Weight of every value, of the same shape; 0 excludes a value. None weights all values equally.
        """
        raise NotImplementedError
