"""Prediction of how deep inside an object a voxel lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .distance_predictor import DistancePredictor

if TYPE_CHECKING:
    from funlib.geometry import Coordinate


class InnerDistancePredictor(DistancePredictor):
    """Predict for every class the distance to its boundary inside, and 0 outside.

    The range of predictions is that of signed distances: targets are not negative, but predictions may be.
    """

    def __init__(self, channels: Sequence[str], scale_factor: float) -> None:
        """Set what to predict.

        Args:
            channels: Names of the classes.
            scale_factor: Distance in world units at which targets begin to saturate.

        Raises:
            ConfigError: If there is no class, or the scale is not positive.
        """
        super().__init__(channels, scale_factor, mask_distances=False)

    def process(
        self,
        labels: npt.NDArray[Any],
        voxel_size: Coordinate,
        normalize: str | None = None,
        normalize_args: float | None = None,
    ) -> npt.NDArray[np.float32]:
        """Compute the distance of every voxel inside to the nearest boundary of each channel, 0 outside.

        Args:
            labels: Channels first, 0 is background.
            voxel_size: World units.
            normalize: "tanh" for tanh(distance / ``normalize_args``), None for world units.
            normalize_args: The scale, world units.
        """
        distances = super().process(labels, voxel_size, normalize, normalize_args)
        return np.maximum(distances, 0, out=distances)
