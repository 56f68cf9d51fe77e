"""A predictor for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dacapo.experiments.arraytypes import EmbeddingArray
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.datasplits.datasets.arrays.channels import read_channels_first
from dacapo.experiments.model import Model

from .predictor import Predictor, conv_head, wrap_channels
from .torch_targets import Classes, SampleLabels, TorchTarget

if TYPE_CHECKING:
    from dacapo.experiments.architectures.architecture import Architecture
    from dacapo.experiments.datasplits.datasets.arrays import Array

__all__ = ["DummyPredictor", "EmbeddingArray", "Model", "NumpyArray", "Predictor"]

# Voxels of the head's kernel along each axis.
KERNEL_SIZE = 3


class DummyPredictor(Predictor):
    """Predict zeros everywhere."""

    def __init__(self, embedding_dims: int) -> None:
        """Set the number of channels."""
        self.embedding_dims = embedding_dims

    def create_model(self, architecture: Architecture) -> Model:
        """Append a convolution with ``embedding_dims`` channels, three voxels wide and without padding."""
        return Model(architecture, conv_head(architecture, self.embedding_dims, KERNEL_SIZE))

    def create_target(self, gt: Array) -> NumpyArray:
        """Return zeros of ``embedding_dims`` channels over the ground truth."""
        shape = read_channels_first(gt).shape[1:]
        return wrap_channels(np.zeros((self.embedding_dims, *shape), dtype=np.float32), gt)

    def create_weight(
        self, gt: Array, target: Array, mask: Array, moving_class_counts: Any = None
    ) -> tuple[NumpyArray, None]:
        """Return ones where the mask is set, the same for every channel."""
        annotated = read_channels_first(mask, target.roi).all(axis=0)
        shape = (self.embedding_dims, *annotated.shape)
        return wrap_channels(np.broadcast_to(annotated, shape).astype(np.float32), target), None

    @property
    def targets_on_device(self) -> bool:
        """Whether targets are computed wherever labels are."""
        return True

    def torch_target(self, labels: SampleLabels) -> TorchTarget:
        """Return what `create_target` and `create_weight` do, as tensors."""
        annotated = (labels.mask_inner != 0).all(dim=0)
        codes = annotated.to(torch.uint8).expand(self.embedding_dims, *annotated.shape)
        return TorchTarget(torch.zeros(codes.shape, device=codes.device), [Classes(codes, balanced=False)])

    @property
    def output_array_type(self) -> EmbeddingArray:
        """An embedding."""
        return EmbeddingArray(self.embedding_dims)
