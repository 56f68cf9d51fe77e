"""Prediction of signed distances to boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from dacapo.experiments.arraytypes import DistanceArray
from dacapo.experiments.model import Model

from .class_distance_predictor import ClassDistancePredictor
from .class_weights import Classes, mark_unknown
from .predictor import conv_head
from .sample_labels import SampleLabels

if TYPE_CHECKING:
    from dacapo.experiments.architectures.architecture import Architecture


class DistancePredictor(ClassDistancePredictor):
    """Predict for every class the distance to its boundary, positive inside and negative outside."""

    def __init__(
        self,
        channels: Sequence[str],
        scale_factor: float,
        mask_distances: bool,
        clipmin: float = 0.05,
        clipmax: float = 0.95,
    ) -> None:
        """Set what to predict.

        Args:
            channels: Names of the classes.
            scale_factor: Distance at which targets begin to saturate, world units.
            mask_distances: Whether to leave out distances that unannotated boundaries could make wrong.
            clipmin: Lower limit of the fraction of foreground or background when voxels are weighted.
            clipmax: Upper limit of it.

        Raises:
            ConfigError: If no class is named, or the scale is not positive.
        """
        super().__init__(channels, scale_factor, mask_distances)
        self.clipmin = clipmin
        self.clipmax = clipmax

    @property
    def embedding_dims(self) -> int:
        """Number of classes."""
        return len(self.channels)

    @property
    def channel_names(self) -> list[str]:
        return list(self.channels)

    @property
    def output_range(self) -> tuple[float, float]:
        """From -1, far outside, to 1, deep inside."""
        return -1.0, 1.0

    @property
    def output_array_type(self) -> DistanceArray:
        return DistanceArray(dict(enumerate(self.channels)))

    def create_model(self, architecture: Architecture) -> Model:
        """Append a linear head, whose output is clipped to -1 to 1 in eval mode.

        Targets are already tanh of distances, and the loss compares them with the raw output. Another tanh would make
        predictions smaller than their targets.
        """
        return Model(architecture, conv_head(architecture, self.embedding_dims), eval_activation=torch.nn.Hardtanh())

    def weight_classes(self, labels: SampleLabels, target: torch.Tensor) -> list[Classes]:
        """Return foreground and background of each class.

        Both are unknown where voxels are not annotated and, if ``mask_distances``, where distances cannot be trusted.
        """
        inside, _, trusted = self.classes_and_trust(labels, target)
        return [Classes(mark_unknown(inside, trusted), clipmin=self.clipmin, clipmax=self.clipmax)]
