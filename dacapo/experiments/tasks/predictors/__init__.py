"""Predictors: what a model learns to predict."""

from __future__ import annotations

from .dummy_predictor import DummyPredictor
from .predictor import Predictor

__all__ = ["DummyPredictor", "Predictor"]
