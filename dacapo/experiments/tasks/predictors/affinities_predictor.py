"""Prediction of affinities, and of local shape descriptors beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.arraytypes import EmbeddingArray
from dacapo.experiments.datasplits.datasets.arrays.annotated_labels import annotated_part
from dacapo.experiments.datasplits.datasets.arrays.channels import read_channels_first
from dacapo.experiments.model import Model
from dacapo.utils.affinities import grow_boundaries, known_affinities, padding, seg_to_affgraph
from dacapo.utils.balance_weights import MovingCounts, balance_weights
from dacapo.utils.lsds import TRUNCATE, LsdExtractor, descriptor_names, local_shape_descriptors, num_descriptors
from dacapo.utils.tensors import as_array

from .predictor import (
    Predictor,
    conv_head,
    grow_region,
    per_channel,
    read_labels,
    read_mask,
    region_voxel_size,
    whole_voxels,
    wrap_channels,
)
from .torch_targets import (
    Classes,
    SampleLabels,
    TorchTarget,
    affinities_known,
    affinity_classes,
    mark_unknown,
    with_background,
)

if TYPE_CHECKING:
    from funlib.geometry import Roi

    from dacapo.experiments.architectures.architecture import Architecture
    from dacapo.experiments.datasplits.datasets.arrays import Array

# Counts of the affinities and, if they are predicted, of the descriptors.
AffinityCounts: TypeAlias = tuple[MovingCounts | None, MovingCounts | None]


class AffinitiesPredictor(Predictor):
    """Predict for every voxel which of its neighbours belong to the same object.

    The channels are one affinity per offset, followed by the descriptors.
    """

    def __init__(
        self,
        neighborhood: Sequence[Coordinate],
        lsds: bool = True,
        num_voxels: int = 20,
        downsample_lsds: int = 1,
        grow_boundary_iterations: int = 0,
        affs_weight_clipmin: float = 0.05,
        affs_weight_clipmax: float = 0.95,
        lsd_weight_clipmin: float = 0.05,
        lsd_weight_clipmax: float = 0.95,
        background_as_object: bool = False,
    ) -> None:
        """Set what to predict.

        Args:
            neighborhood: Offsets in voxels from a voxel to the neighbours it is compared with.
            lsds: Whether to predict local shape descriptors too, which helps learning affinities.
            num_voxels: Radius (sigma) of the descriptors, counted in voxels along their longest edge.
            downsample_lsds: Compute descriptors on every n-th voxel only.
            grow_boundary_iterations: Shrink objects by this many voxels before affinities are computed. Descriptors
                describe the whole objects.
            affs_weight_clipmin: Lower limit of the fraction of a class when affinities are weighted.
            affs_weight_clipmax: Upper limit of it.
            lsd_weight_clipmin: Lower limit of the fraction of a class when descriptors are weighted.
            lsd_weight_clipmax: Upper limit of it.
            background_as_object: Whether background is one more object, with affinities among itself.

        Raises:
            ConfigError: If there is no offset, or offsets differ in their number of dimensions.
        """
        self.neighborhood = [Coordinate(offset) for offset in neighborhood]
        if len({len(offset) for offset in self.neighborhood}) != 1:
            raise ConfigError(f"neighborhood {list(neighborhood)} must be offsets, at least one, all 2D or all 3D")
        self.lsds = lsds
        self.num_voxels = num_voxels
        self.downsample_lsds = downsample_lsds
        self.grow_boundary_iterations = grow_boundary_iterations
        self.affs_weight_clipmin = affs_weight_clipmin
        self.affs_weight_clipmax = affs_weight_clipmax
        self.lsd_weight_clipmin = lsd_weight_clipmin
        self.lsd_weight_clipmax = lsd_weight_clipmax
        self.background_as_object = background_as_object

    @property
    def dims(self) -> int:
        """Number of spatial dimensions."""
        return len(self.neighborhood[0])

    @property
    def num_channels(self) -> int:
        """Number of affinities and descriptors."""
        return len(self.neighborhood) + (num_descriptors(self.dims) if self.lsds else 0)

    @property
    def channel_names(self) -> list[str]:
        """Offsets such as ``aff(1,0,0)``, followed by the names of the descriptors."""
        affinities = [f"aff({','.join(str(int(o)) for o in offset)})" for offset in self.neighborhood]
        return affinities + (descriptor_names(self.dims) if self.lsds else [])

    @property
    def output_array_type(self) -> EmbeddingArray:
        """An embedding, which names the number of spatial dimensions as the original does."""
        return EmbeddingArray(self.dims)

    def extractor(self, voxel_size: Coordinate) -> LsdExtractor:
        """Return an object that computes descriptors of arrays of a voxel size."""
        return LsdExtractor(self.sigma(voxel_size), downsample=self.downsample_lsds)

    def sigma(self, voxel_size: Coordinate) -> Coordinate:
        """Return the radius of the descriptors along each axis in world units, the same for all axes."""
        return Coordinate((max(voxel_size) * self.num_voxels,) * self.dims)

    def lsd_pad(self, voxel_size: Coordinate) -> Coordinate:
        """Return how far descriptors see, in world units, rounded up to whole voxels."""
        return whole_voxels(self.sigma(voxel_size) * TRUNCATE, voxel_size)

    @property
    def label_channels(self) -> int:
        """Labels have one channel, the objects."""
        return 1

    @property
    def mask_channels(self) -> int:
        """One for each affinity, where there are no descriptors."""
        return 1 if self.lsds else len(self.neighborhood)

    def create_model(self, architecture: Architecture) -> Model:
        """Append a head whose output is a sigmoid in eval mode.

        Raises:
            ConfigError: If the architecture has another number of dimensions than the neighborhood.
        """
        if architecture.dims != self.dims:
            raise ConfigError(
                f"the architecture is {architecture.dims}D, but the offsets of the neighborhood have {self.dims} "
                "dimensions; use offsets with one number per axis"
            )
        return Model(architecture, conv_head(architecture, self.num_channels), eval_activation=torch.nn.Sigmoid())

    def create_target(self, gt: Array) -> Array:
        """Compute affinities and descriptors of labels, all between 0 and 1.

        Raises:
            DtypeError: If labels are neither integers nor bool.
            ChannelMismatchError: If there are several channels.
        """
        labels = read_labels(gt, 1)[0]
        if self.background_as_object:
            labels = with_background(labels, annotated_part(gt))
        objects = grow_boundaries(labels, self.grow_boundary_iterations)
        target = seg_to_affgraph(objects, self.neighborhood, dtype=np.float32)
        if self.lsds:
            size = gt.voxel_size
            descriptors = local_shape_descriptors(labels, self.sigma(size), size, self.downsample_lsds)
            target = np.concatenate([target, descriptors])
        return wrap_channels(target, gt)

    def create_weight(
        self, gt: Array, target: Array, mask: Array, moving_class_counts: AffinityCounts | None = None
    ) -> tuple[Array, AffinityCounts]:
        """Weight ones and zeros of each affinity, and objects and background for descriptors, by their frequency.

        Unannotated voxels get weight 0. So do affinities to a partner that is not annotated, or lies outside of the
        mask, if the mask reaches beyond the target, as it does in training. A mask over the target only says nothing
        about partners behind its edge; then the voxel itself decides, as in the original.

        Returns:
            Weights, and the counts of affinities and of descriptors (None without).
        """
        affinity_counts, lsd_counts = moving_class_counts or (None, None)
        affinities = target[target.roi][: len(self.neighborhood)].astype(np.uint8)
        weights, affinity_counts = balance_weights(
            affinities,
            2,
            slab=per_channel(affinities.shape),
            masks=[self._known(mask, target.roi, affinities.shape)],
            clipmin=self.affs_weight_clipmin,
            clipmax=self.affs_weight_clipmax,
            moving_counts=affinity_counts,
        )
        if self.lsds:
            objects = (read_labels(gt, 1, target.roi) > 0).astype(np.uint8)
            lsd_weights, lsd_counts = balance_weights(
                objects[0],
                2,
                masks=[read_mask(mask, target.roi, objects.shape)[0]],
                clipmin=self.lsd_weight_clipmin,
                clipmax=self.lsd_weight_clipmax,
                moving_counts=lsd_counts,
            )
            repeated = np.broadcast_to(lsd_weights, (num_descriptors(self.dims), *lsd_weights.shape))
            weights = np.concatenate([weights, repeated])
        return wrap_channels(weights, target), (affinity_counts, lsd_counts)

    def _known(self, mask: Array, roi: Roi, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return where the affinities in a region are known, of a shape with one channel per affinity."""
        known = read_mask(mask, roi, shape)
        if mask.roi == roi:
            return known
        box = roi.grow(*self._affinity_context(mask.voxel_size)).intersect(mask.roi)
        place = ((roi - box.offset) / mask.voxel_size).to_slices()
        around = known_affinities(read_channels_first(mask, box), self.neighborhood, self.grow_boundary_iterations)
        return around[(slice(None), *place)]

    @property
    def targets_on_device(self) -> bool:
        """Whether targets are computed wherever labels are: descriptors are not."""
        return not self.lsds

    def mask_region_for_roi(self, target_spec: Any) -> Any:
        """Return where partners lie. What is annotated farther away matters only if background is an object."""
        if self.background_as_object:
            return self.gt_region_for_roi(target_spec)
        return grow_region(target_spec, *self._affinity_context(region_voxel_size(target_spec)))

    def torch_target(self, labels: SampleLabels) -> TorchTarget:
        """Return what `create_target` and `create_weight` do, as tensors.

        Raises:
            DtypeError: If labels are neither integers nor bool.
            ChannelMismatchError: If there are several channels, or the mask has neither one nor one per affinity.
        """
        offsets = [tuple(offset) for offset in self.neighborhood]
        affinities = affinity_classes(labels, offsets, self.grow_boundary_iterations, self.background_as_object)
        codes = mark_unknown(affinities, affinities_known(labels, offsets, self.grow_boundary_iterations))
        target = affinities.to(torch.float32)
        classes = [Classes(codes, clipmin=self.affs_weight_clipmin, clipmax=self.affs_weight_clipmax)]
        if self.lsds:
            descriptors, inside = self._torch_descriptors(labels)
            target = torch.cat([target, descriptors])
            limits = self.lsd_weight_clipmin, self.lsd_weight_clipmax
            classes.append(Classes(inside, True, *limits, repeat=len(descriptors)))
        return TorchTarget(target, classes)

    def _torch_descriptors(self, labels: SampleLabels) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the descriptors of the target, and the codes of objects and background."""
        objects = labels.channels(1)
        values = as_array(objects[0], labels.gt_dtype)
        size = labels.voxel_size
        annotated = labels.annotated_around(labels.roi) if self.background_as_object else None
        known = None if annotated is None else annotated.numpy()
        described = with_background(values, known) if self.background_as_object else values
        descriptors = local_shape_descriptors(described, self.sigma(size), size, self.downsample_lsds, labels.inner)
        inside = labels.foreground(objects[(slice(None), *labels.inner)])
        return torch.from_numpy(np.ascontiguousarray(descriptors)), mark_unknown(inside, labels.annotated(1))

    def _affinity_context(self, voxel_size: Coordinate) -> tuple[Coordinate, Coordinate]:
        """Return how far affinities, and the boundaries they depend on, reach on either side, in world units."""
        negative, positive = padding(self.neighborhood, voxel_size)
        grown = voxel_size * self.grow_boundary_iterations
        return grown - negative, grown + positive

    def gt_region_for_roi(self, target_spec: Any) -> Any:
        """Widen the region by what affinities reach on either side, or by what descriptors see if that is more."""
        voxel_size = region_voxel_size(target_spec)
        before, after = self._affinity_context(voxel_size)
        if self.lsds:
            context = self.lsd_pad(voxel_size)
            before = Coordinate(max(a, b) for a, b in zip(before, context, strict=True))
            after = Coordinate(max(a, b) for a, b in zip(after, context, strict=True))
        return grow_region(target_spec, before, after)
