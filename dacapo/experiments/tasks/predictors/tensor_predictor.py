"""The base of predictors that state their target once, for arrays and for tensors on any device."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch

from dacapo.experiments.datasplits.datasets.arrays.annotated_labels import annotated_part
from dacapo.experiments.datasplits.datasets.arrays.channels import read_channels_first
from dacapo.utils.balance_weights import MovingCounts
from dacapo.utils.tensors import as_strided_tensor, as_tensor

from .class_weights import Classes, class_weights, count_classes, from_moving_counts, to_moving_counts
from .predictor import Predictor, TargetSpec, wrap_channels
from .sample_labels import SampleLabels
from .torch_target import TorchTarget

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets.arrays import Array, NumpyArray

EVERYWHERE = torch.ones((), dtype=torch.bool)
"""The mask of a voxel that is annotated."""


class TensorPredictor(Predictor):
    """Base of predictors that state target and classes as tensors, from which those of arrays follow."""

    @abstractmethod
    def target_of(self, labels: SampleLabels) -> torch.Tensor:
        """Return the target in its region, channels first, of any data type.

        Raises:
            DtypeError: If labels are neither integers nor bool.
            ChannelMismatchError: If ground truth has another number of channels than the predictor needs.
        """
        raise NotImplementedError

    @abstractmethod
    def weight_classes(self, labels: SampleLabels, target: torch.Tensor) -> list[Classes]:
        """Return the classes that determine the weights of a target, for all of its channels, in their order.

        Args:
            labels: Ground truth and mask. Ground truth may cover no more than the target.
            target: The target in its region, as :meth:`target_of` returns it.

        Raises:
            ChannelMismatchError: If the mask has another number of channels than it may have.
        """
        raise NotImplementedError

    def torch_target(self, labels: SampleLabels) -> TorchTarget:
        """Return the target of a sample, and the classes that its weights follow from."""
        target = self.target_of(labels)
        return TorchTarget(target.to(torch.float32), self.weight_classes(labels, target))

    def create_target(self, gt: Array) -> NumpyArray:
        """Return :meth:`target_of` of an array, over all of its roi.

        Raises:
            DtypeError: If labels are neither integers nor bool.
            ChannelMismatchError: If ground truth has another number of channels than the predictor needs.
        """
        values, annotated, roi = as_tensor(read_channels_first(gt)), annotated_part(gt), gt.roi
        mask = EVERYWHERE.expand(values.shape[1:]) if annotated is None else as_tensor(annotated)
        place = roi, roi, gt.voxel_size, roi
        labels = SampleLabels(values, mask, gt.dtype, np.dtype(bool), *place, mask_reaches_out=annotated is not None)
        return wrap_channels(self.target_of(labels).numpy(), gt)

    def create_weight(
        self, gt: Array, target: Array, mask: Array, moving_class_counts: Any = None
    ) -> tuple[NumpyArray, Any]:
        """Return the weights that follow from :meth:`weight_classes`.

        Voxels that are not annotated have weight 0.

        Raises:
            ChannelMismatchError: If the mask has another number of channels than it may have.
            ConfigError: If the counts are those of other channels.
        """
        labels = self._labels(gt, target, mask)
        groups = self.weight_classes(labels, as_strided_tensor(read_channels_first(target)))
        batch = [attrs.evolve(group, codes=group.codes[None]) for group in groups]
        before = from_moving_counts(batch, self.unpack_counts(moving_class_counts))
        counts = [old + new for old, new in zip(before, count_classes(batch), strict=True)]
        weights = class_weights(batch, counts)[0].numpy()
        return wrap_channels(weights, target), self.pack_counts(to_moving_counts(batch, counts))

    def _labels(self, gt: Array, target: Array, mask: Array) -> SampleLabels:
        """Return ground truth in the region of a target, and the mask as far as weights depend on it."""
        region = self.mask_region_for_roi(TargetSpec(target.roi, target.voxel_size)).roi
        mask_roi = region.intersect(mask.roi).union(target.roi)
        place = target.roi, target.roi, target.voxel_size, mask_roi
        return SampleLabels(
            lambda: as_tensor(read_channels_first(gt, target.roi)),
            as_strided_tensor(read_channels_first(mask, mask_roi)),
            gt.dtype,
            mask.dtype,
            *place,
            mask_reaches_out=mask.roi != target.roi,
        )

    def pack_counts(self, counts: Sequence[MovingCounts | None]) -> Any:
        """Return the class counts of each entry of :meth:`weight_classes` as :meth:`create_weight` returns them."""
        return counts[0]

    def unpack_counts(self, moving_class_counts: Any) -> Sequence[MovingCounts | None]:
        """Undo :meth:`pack_counts`; None stands for no counts yet."""
        return [moving_class_counts]
