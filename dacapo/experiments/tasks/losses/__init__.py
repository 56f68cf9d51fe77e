"""Losses, which compare prediction and target."""

from __future__ import annotations

from .affinities_loss import AffinitiesLoss
from .cross_entropy_loss import CrossEntropyLoss
from .dummy_loss import DummyLoss
from .hot_distance_loss import HotDistanceLoss
from .loss import Loss
from .mse_loss import MSELoss

__all__ = ["AffinitiesLoss", "CrossEntropyLoss", "DummyLoss", "HotDistanceLoss", "Loss", "MSELoss"]
