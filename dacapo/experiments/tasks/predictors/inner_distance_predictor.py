"""Prediction of the depth of voxels inside objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .distance_predictor import DistancePredictor


class InnerDistancePredictor(DistancePredictor):
    """Predict for every class the distance to its boundary inside, and 0 outside.

    Predictions have the range of signed distances: targets are not negative, but predictions may be.
    """

    def __init__(self, channels: Sequence[str], scale_factor: float) -> None:
        """Set what to predict.

        Args:
            channels: Names of the classes.
            scale_factor: Distance at which targets begin to saturate, world units.

        Raises:
            ConfigError: If no class is named, or the scale is not positive.
        """
        super().__init__(channels, scale_factor, mask_distances=False)

    def from_distances(self, labels: npt.NDArray[Any], distances: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return distances inside, and 0 outside."""
        return np.maximum(distances, 0, out=distances)
