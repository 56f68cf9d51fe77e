"""Ground truth and mask of a sample, from which predictors make targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
import torch
from funlib.geometry import Coordinate

from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.utils.tensors import as_array, is_set

from .checks import check_label_channels, check_mask_channels

if TYPE_CHECKING:
    from funlib.geometry import Roi


@attrs.frozen
class SampleLabels:
    """The labels of one sample.

    Attributes:
        gt: Ground truth, axes (channel,) space, as ``as_tensor`` returns it. A function that
            reads it may be passed instead, and is called only when ground truth is needed.
        mask: Not 0 where annotated, likewise.
        gt_dtype: Data type of the ground truth.
        mask_dtype: Data type of the mask.
        roi: Region of the ground truth, world units.
        target_roi: Region of the target, inside of it.
        voxel_size: World units.
        mask_roi: Region of the mask, which contains the target; that of the ground truth by default.
        mask_reaches_out: Whether the mask says where the surroundings of the target are annotated; by default if it is
            larger.
    """

    _gt: torch.Tensor | Callable[[], torch.Tensor]
    mask: torch.Tensor
    gt_dtype: np.dtype[Any]
    mask_dtype: np.dtype[Any]
    roi: Roi
    target_roi: Roi
    voxel_size: Coordinate
    mask_roi: Roi = attrs.field()
    mask_reaches_out: bool = attrs.field()

    @mask_roi.default
    def _same_roi(self) -> Roi:
        return self.roi

    @mask_reaches_out.default
    def _is_larger(self) -> bool:
        return bool(self.mask_roi != self.target_roi)

    @property
    def gt(self) -> torch.Tensor:
        """Ground truth."""
        return self._gt if isinstance(self._gt, torch.Tensor) else self._gt()

    @property
    def inner(self) -> tuple[slice, ...]:
        """The region of the target as an index into the spatial axes of ground truth."""
        return self._place_of_target(self.roi)

    @property
    def mask_place(self) -> tuple[slice, ...]:
        """The region of the target as an index into the spatial axes of the mask."""
        return self._place_of_target(self.mask_roi)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of the target in voxels, without channels."""
        return tuple(self.target_roi.shape / self.voxel_size)

    @property
    def mask_channels(self) -> torch.Tensor:
        """The mask with its channel axis in front."""
        return self._channels_first(self.mask)

    def channels(self, expected: int) -> torch.Tensor:
        """Return ground truth with its channel axis in front.

        Raises:
            DtypeError: If its values are neither integers nor bool.
            ChannelMismatchError: If the number of channels differs.
        """
        labels = self._channels_first(self.gt)
        check_label_channels(self.gt_dtype, labels.shape[0], expected)
        return labels

    def inside(self, expected: int) -> torch.Tensor:
        """Return the part of :meth:`channels` in the region of the target."""
        labels = self.channels(expected)
        return labels if self.target_roi is self.roi else labels[(slice(None), *self.inner)]

    def annotated(self, channels: int | None) -> torch.Tensor:
        """Return where the target is annotated, as bool, channels first.

        Args:
            channels: Number of channels that the mask may have instead of a single one; None for any.

        Raises:
            ChannelMismatchError: If the number of channels is neither.
        """
        mask = self.mask_channels[(slice(None), *self.mask_place)]
        if channels is not None:
            check_mask_channels(len(mask), channels)
        return is_set(mask)

    def annotated_around(self) -> torch.Tensor | None:
        """Return where the region of ground truth is annotated, as bool, spatial axes only.

        Voxels outside of the mask are not. None if the mask does not say anything about the surroundings of the target.
        """
        if not self.mask_reaches_out:
            return None
        part = is_set(self.mask_channels).any(dim=0)
        if self.mask_roi == self.roi:
            return part
        whole = torch.zeros(tuple(self.roi.shape / self.voxel_size), dtype=torch.bool, device=part.device)
        common = self.roi.intersect(self.mask_roi)
        to, source = (((common - r.offset) / self.voxel_size).to_slices() for r in (self.roi, self.mask_roi))
        whole[to] = part[source]
        return whole

    def as_arrays(self) -> tuple[NumpyArray, NumpyArray]:
        """Return ground truth and mask as arrays."""
        gt, mask = as_array(self.gt, self.gt_dtype), as_array(self.mask, self.mask_dtype)
        return self._wrap(gt, self.roi), self._wrap(mask, self.mask_roi)

    def _wrap(self, values: npt.NDArray[Any], roi: Roi) -> NumpyArray:
        spatial = ["z", "y", "x"][-self.roi.dims :]
        axes = ["c", *spatial] if values.ndim > self.roi.dims else spatial
        return NumpyArray.from_np_array(values, roi, self.voxel_size, axes)

    def _channels_first(self, values: torch.Tensor) -> torch.Tensor:
        return values if values.ndim > self.roi.dims else values[None]

    def _place_of_target(self, roi: Roi) -> tuple[slice, ...]:
        place: tuple[slice, ...] = ((self.target_roi - roi.offset) / self.voxel_size).to_slices()
        return place
