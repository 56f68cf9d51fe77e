"""A predictor for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dacapo.experiments.arraytypes import EmbeddingArray
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.model import Model

from .class_weights import Classes
from .predictor import Predictor, conv_head
from .sample_labels import SampleLabels
from .tensor_predictor import TensorPredictor

if TYPE_CHECKING:
    from dacapo.experiments.architectures.architecture import Architecture

__all__ = ["DummyPredictor", "EmbeddingArray", "Model", "NumpyArray", "Predictor"]

# Voxels of the head's kernel along each axis.
KERNEL_SIZE = 3


class DummyPredictor(TensorPredictor):
    """Predict zeros everywhere."""

    targets_on_device = True

    def __init__(self, embedding_dims: int) -> None:
        """Set the number of channels."""
        self.embedding_dims = embedding_dims

    def create_model(self, architecture: Architecture) -> Model:
        """Append a convolution with ``embedding_dims`` channels, three voxels wide and without padding."""
        return Model(architecture, conv_head(architecture, self.embedding_dims, KERNEL_SIZE))

    def target_of(self, labels: SampleLabels) -> torch.Tensor:
        return torch.zeros((self.embedding_dims, *labels.target_shape), device=labels.mask.device)

    def weight_classes(self, labels: SampleLabels, target: torch.Tensor) -> list[Classes]:
        """Return 1 where all channels of the mask are set, the same for every channel, not balanced."""
        annotated = labels.annotated(None).all(dim=0).to(torch.uint8)
        return [Classes(annotated.expand(self.embedding_dims, *annotated.shape), balanced=False)]

    @property
    def output_array_type(self) -> EmbeddingArray:
        return EmbeddingArray(self.embedding_dims)
