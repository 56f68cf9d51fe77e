"""The base of all predictors, with heads and regions that they share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
import numpy as np
import numpy.typing as npt
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.errors import DimensionsError, RoiError
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.datasplits.datasets.arrays.channels import read_channels_first
from dacapo.utils.declarations import stands_for
from dacapo.utils.plain_repr import plain_repr
from dacapo.utils.symmetries import ChannelSource, Symmetry

from .checks import check_label_channels, check_mask_channels

if TYPE_CHECKING:
    from dacapo.experiments.architectures.architecture import Architecture
    from dacapo.experiments.arraytypes import ArrayType
    from dacapo.experiments.datasplits.datasets.arrays import Array
    from dacapo.experiments.model import Model

    from .sample_labels import SampleLabels
    from .torch_target import TorchTarget


@attrs.define
class TargetSpec:
    """The region of a target, in the form that `Predictor.gt_region_for_roi` expects."""

    roi: Roi
    voxel_size: Coordinate
    dtype: Any = None

    def copy(self) -> TargetSpec:
        """Return a copy."""
        return TargetSpec(self.roi, self.voxel_size, self.dtype)


class Predictor(ABC):
    """Define what a model predicts: its head, the target it learns from and the weight of every voxel.

    `TensorPredictor` is the base of predictors that state target and weight once, for arrays and tensors alike.

    Attributes:
        works_on_tensors: Whether :meth:`torch_target` stands for :meth:`create_target` and :meth:`create_weight`. True
            for a class that defines it; False again for a subclass that overrides one of the others but not this one.
        labels_are: How targets read the values of ground truth: as numbers of ``"classes"``, as ids of ``"objects"``,
            or as ``"masks"``, one channel for each class and not 0 inside. None if unknown.
    """

    works_on_tensors: ClassVar[bool] = False
    labels_are: ClassVar[Literal["classes", "objects", "masks"] | None] = None
    world_parts: int = 1
    """World coordinates per unit of the data, by which lengths in units are multiplied. Trainers set it; see
    :mod:`dacapo.experiments.datasplits.datasets.arrays.world`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Set ``works_on_tensors``, unless the class does that itself."""
        super().__init_subclass__(**kwargs)
        if "works_on_tensors" not in vars(cls):
            replaced = ("create_target", "create_weight")
            cls.works_on_tensors = stands_for(cls, "torch_target", replaced, inherited=cls.works_on_tensors)

    def __repr__(self) -> str:
        return plain_repr(self)

    @abstractmethod
    def create_model(self, architecture: Architecture) -> Model:
        """Append to a network body the head that predicts this predictor's channels."""
        raise NotImplementedError

    @abstractmethod
    def create_target(self, gt: Array) -> Array:
        """Turn ground truth into the array that the loss compares with the prediction.

        Args:
            gt: Ground truth, with or without a channel axis. In training it is an `AnnotatedLabels`, which also says
                where it is annotated.

        Returns:
            Channels first, over the roi of ``gt``. Where a target depends on its surroundings, it is exact in a roi
            for which :meth:`gt_region_for_roi` lies inside ``gt``.
        """
        raise NotImplementedError

    @abstractmethod
    def create_weight(
        self, gt: Array, target: Array, mask: Array, moving_class_counts: Any = None
    ) -> tuple[Array, Any]:
        """Return the weight of every value of a target, and the class counts to hand in at the next call.

        Args:
            gt: Ground truth.
            target: The result of :meth:`create_target`. In training, a predictor that works on tensors receives only
                the part to train on; ground truth and mask then reach as far beyond it as it depends on them.
            mask: Not 0 where ground truth is annotated, with one channel, none, or as many as ``gt``.
            moving_class_counts: The counts that the previous call returned, None at the first. They may be changed in
                place.

        Returns:
            Channels first, over the roi of ``target``.
        """
        raise NotImplementedError

    def torch_target(self, labels: SampleLabels) -> TorchTarget | None:
        """Return the target of a sample, and the classes that its weights follow from, as tensors.

        Both are those of :meth:`create_target` and :meth:`create_weight` in the region of the target; voxels outside
        of it are not counted. None, the default, means that the predictor has only those two.
        """
        return None

    def annotated_weight(
        self, gt: Array, target: Array, mask: Array, roi: Roi, moving_class_counts: Any = None
    ) -> tuple[NumpyArray, Any]:
        """Return the weight to train with: that of :meth:`create_weight`, and 0 where nothing is annotated.

        This covers predictors that ignore the mask. A mask with several channels, but not as many as the weights, is
        left to the predictor.

        Args:
            gt: Ground truth.
            target: Its target.
            mask: Not 0 where ground truth is annotated.
            roi: The region to return, world units.
            moving_class_counts: As in :meth:`create_weight`.
        """
        weight, counts = self.create_weight(gt, target, mask, moving_class_counts)
        weights, annotated = read_channels_first(weight, roi), read_channels_first(mask, roi) != 0
        if len(annotated) in (1, len(weights)):
            weights = np.where(annotated, weights, np.zeros((), weights.dtype))
        if weight.channel_axis is None:
            return NumpyArray.from_np_array(weights[0], roi, weight.voxel_size, spatial_axes(weight)), counts
        return NumpyArray.from_np_array(weights, roi, weight.voxel_size, ["c", *spatial_axes(weight)]), counts

    @property
    def targets_on_device(self) -> bool:
        """Whether :meth:`torch_target` accepts labels on any device; otherwise they must be on the CPU."""
        return False

    def mask_region_for_roi(self, target_spec: Any) -> Any:
        """Return the region of the mask that :meth:`torch_target` depends on, inside that of ground truth.

        Args:
            target_spec: As in :meth:`gt_region_for_roi`, whose region is the default.
        """
        return self.gt_region_for_roi(target_spec)

    @property
    @abstractmethod
    def output_array_type(self) -> ArrayType:
        """The meaning of the values of a prediction."""
        raise NotImplementedError

    @property
    def output_range(self) -> tuple[float, float]:
        """Smallest and largest value of the model's output in eval mode; integers are scaled to this range."""
        return 0.0, 1.0

    @property
    def channel_names(self) -> list[str] | None:
        """Label of every output channel, by which heads are matched; None if channels have no labels."""
        return None

    def channel_sources(self, symmetry: Symmetry) -> Sequence[ChannelSource | None] | None:
        """Return where the values of each channel are in the prediction for mirrored or turned raw data.

        Test-time augmentation averages them; see :mod:`dacapo.inference.tta`. None for a channel means that this
        prediction does not have it, and None, the default, that the predictor does not say.

        Args:
            symmetry: How raw data is changed. The change of the prediction is undone before channels are looked up.
        """
        return None

    @property
    def class_names(self) -> list[str] | None:
        """Name of each class of ground truth; None if classes have no names."""
        return None

    @property
    def label_channels(self) -> int | None:
        """Number of channels that ground truth must have; None for any. No channel axis means one channel."""
        return None

    @property
    def mask_channels(self) -> int | None:
        """Number of channels that a mask may have instead of a single one; None for any."""
        return None

    def check_labels(self, gt: Array) -> None:
        """Refuse ground truth that cannot become a target, by its metadata alone.

        Raises:
            DtypeError: If the values are neither integers nor bool.
            ChannelMismatchError: If the number of channels differs from :attr:`label_channels`.
        """
        if self.label_channels is not None:
            check_label_channels(gt.dtype, _channels(gt), self.label_channels)

    def check_mask(self, mask: Array) -> None:
        """Refuse a mask that does not fit the targets, by its metadata alone.

        Raises:
            ChannelMismatchError: If the number of channels is neither 1 nor :attr:`mask_channels`.
        """
        if self.mask_channels is not None:
            check_mask_channels(_channels(mask), self.mask_channels)

    def gt_region_for_roi(self, target_spec: Any) -> Any:
        """Return the region of ground truth that a target region is made from.

        Args:
            target_spec: A `Roi`, which counts voxels; or an array spec with ``roi``, ``voxel_size`` (world units) and
                ``copy()``. Left unchanged.

        Returns:
            A roi in voxels for a roi; for a spec, a copy without dtype, whose roi is aligned if that of the target is.

        Raises:
            RoiError: If a spec has no voxel size, and the predictor needs context in world units.
        """
        return grow_region(target_spec)

    def padding(self, gt_voxel_size: Coordinate) -> Coordinate:
        """Return how far ground truth may be padded, for targets up to its border; world units, whole voxels."""
        return Coordinate((0,) * len(gt_voxel_size))


def conv_head(architecture: Architecture, num_channels: int, kernel_size: int = 1) -> torch.nn.Module:
    """Return a convolution without padding from the features of a network body to a number of channels.

    Args:
        architecture: The network body.
        num_channels: Number of channels to predict.
        kernel_size: Voxels of the kernel along each axis.

    Raises:
        DimensionsError: If the architecture is neither 2D nor 3D.
    """
    convolutions: dict[int, type[torch.nn.Module]] = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}
    if architecture.dims not in convolutions:
        raise DimensionsError(f"the architecture has {architecture.dims} dimensions; models can be built in 2D and 3D")
    return convolutions[architecture.dims](architecture.num_out_channels, num_channels, kernel_size)


def region_voxel_size(target_spec: Any) -> Coordinate:
    """Return the voxel size of a target region: that of a spec, or 1 along each axis for a roi, which counts voxels.

    Raises:
        RoiError: If a spec has none.
    """
    if isinstance(target_spec, Roi):
        return Coordinate((1,) * target_spec.dims)
    if target_spec.voxel_size is None:
        raise RoiError(f"the spec {target_spec} has no voxel size, which the context of its roi depends on; set one")
    return target_spec.voxel_size


def grow_region(target_spec: Any, before: Coordinate | None = None, after: Coordinate | None = None) -> Any:
    """Return a region of ground truth around a target region, of the same kind.

    Args:
        target_spec: A roi, or an array spec; left unchanged.
        before: Context before it, in the units of its roi; none by default.
        after: Context after it.
    """
    roi = target_spec if isinstance(target_spec, Roi) else target_spec.roi
    grown = roi.copy() if before is None or after is None else roi.grow(before, after)
    if isinstance(target_spec, Roi):
        return grown
    gt_spec = target_spec.copy()
    gt_spec.dtype = None
    gt_spec.roi = grown
    return gt_spec


def spatial_axes(array: Array) -> list[str]:
    """Return the names of the axes of an array without channels."""
    return [axis for axis in array.axes if axis != "c"]


def _channels(array: Array) -> int:
    return int(array.num_channels or 0) if "c" in array.axes else 1


def wrap_channels(data: npt.NDArray[Any], like: Array) -> NumpyArray:
    """Wrap channel-first data as an array over the roi of another one."""
    return NumpyArray.from_np_array(data, like.roi, like.voxel_size, ["c", *spatial_axes(like)])


def whole_voxels(distance: float | Sequence[float], voxel_size: Coordinate) -> Coordinate:
    """Round a distance (world units, one number or one per axis) up to whole voxels, in world units."""
    distances = distance if isinstance(distance, Sequence) else (distance,) * len(voxel_size)
    return Coordinate(math.ceil(d / v) * v for d, v in zip(distances, voxel_size, strict=True))
