"""Losses: how prediction and target are compared."""

from __future__ import annotations

from .dummy_loss import DummyLoss
from .loss import Loss

__all__ = ["DummyLoss", "Loss"]
