"""Prediction of the class of every voxel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from dacapo.errors import ConfigError
from dacapo.experiments.arraytypes import ProbabilityArray
from dacapo.experiments.model import Model
from dacapo.utils.symmetries import ChannelSource, Symmetry, unchanged_channels
from dacapo.utils.tensors import as_array

from .class_weights import Classes
from .predictor import conv_head, wrap_channels
from .sample_labels import SampleLabels
from .tensor_predictor import TensorPredictor

if TYPE_CHECKING:
    from dacapo.experiments.architectures.architecture import Architecture
    from dacapo.experiments.datasplits.datasets.arrays import Array, NumpyArray


class OneHotPredictor(TensorPredictor):
    """Predict the probability of each of several classes that exclude each other."""

    labels_are = "classes"
    works_on_tensors: ClassVar[bool] = True  # create_weight differs only where nothing is annotated
    targets_on_device = True
    label_channels = 1

    def __init__(self, classes: Sequence[str]) -> None:
        """Set the classes.

        Args:
            classes: Name of the class of each label, from 0 on.

        Raises:
            ConfigError: If no class is named.
        """
        if not classes:
            raise ConfigError("one-hot predictions need at least one class, but none is named")
        self.classes = list(classes)

    def channel_sources(self, symmetry: Symmetry) -> list[ChannelSource | None]:
        """Return that classes stay the same."""
        return unchanged_channels(len(self.classes))

    @property
    def embedding_dims(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def channel_names(self) -> list[str]:
        return list(self.classes)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of their numbers."""
        return list(self.classes)

    @property
    def output_array_type(self) -> ProbabilityArray:
        return ProbabilityArray(list(self.classes))

    @property
    def mask_channels(self) -> int:
        return self.embedding_dims

    def create_model(self, architecture: Architecture) -> Model:
        """Append a head whose output is a softmax over the channels in eval mode."""
        head = conv_head(architecture, self.embedding_dims)
        return Model(architecture, head, eval_activation=torch.nn.Softmax(dim=1))

    def create_weight(
        self, gt: Array, target: Array, mask: Array, moving_class_counts: Any = None
    ) -> tuple[NumpyArray, None]:
        """Return ones, because all classes count alike, and no counts.

        As in the original, the mask has no effect; therefore this does not follow from :meth:`weight_classes`. Trainers
        leave out voxels that are not annotated, see :meth:`annotated_weight`.

        Raises:
            ChannelMismatchError: If the mask has neither one channel nor one per class.
        """
        self.check_mask(mask)
        shape = (self.embedding_dims, *(target.roi.shape / target.voxel_size))
        return wrap_channels(np.ones(shape, dtype=np.float32), target), None

    def target_of(self, labels: SampleLabels) -> torch.Tensor:
        """Return one channel per class, 1 where labels name the class; uint8."""
        inner = labels.inside(1)
        if inner.device.type == "cpu":
            return torch.from_numpy(self.process(as_array(inner, labels.gt_dtype)))
        if inner.dtype in (torch.bool, torch.uint8, torch.int8):  # these cannot hold every number of a class
            inner = inner.to(torch.int32)
        return torch.cat([inner == label for label in range(self.embedding_dims)]).to(torch.uint8)

    def weight_classes(self, labels: SampleLabels, target: torch.Tensor) -> list[Classes]:
        """Return 1 where the target is annotated, not balanced."""
        known = labels.annotated(self.embedding_dims).to(torch.uint8)
        return [Classes(known.expand(self.embedding_dims, *labels.target_shape), balanced=False)]

    def process(self, labels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Return one channel per class, 1 where the label is its number.

        Args:
            labels: One channel in front. A label that names no class gives 0 in all channels.
        """
        matches = np.empty((self.embedding_dims, *labels.shape[1:]), dtype=bool)
        # Comparing with one number at a time keeps labels in their own type, where an array of them would widen all.
        for label, channel in enumerate(matches):
            np.equal(labels[0], label, out=channel)
        return matches.view(np.uint8)
