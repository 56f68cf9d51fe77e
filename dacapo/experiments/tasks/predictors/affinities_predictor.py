"""Prediction of affinities, and of local shape descriptors beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.arraytypes import EmbeddingArray
from dacapo.experiments.model import Model
from dacapo.utils.affinities import affinities_of_shrunk, known_affinities, padding, with_background
from dacapo.utils.balance_weights import MovingCounts
from dacapo.utils.lsds import (
    TRUNCATE,
    LsdExtractor,
    descriptor_names,
    local_shape_descriptors,
    num_descriptors,
    turned_descriptors,
)
from dacapo.utils.symmetries import ChannelSource, Symmetry
from dacapo.utils.tensors import as_array, is_set
from dacapo.utils.torch_affinities import torch_affinities, torch_known_affinities

from .class_weights import Classes, mark_unknown
from .predictor import conv_head, grow_region, region_voxel_size, whole_voxels
from .sample_labels import SampleLabels
from .tensor_predictor import TensorPredictor

if TYPE_CHECKING:
    from dacapo.experiments.architectures.architecture import Architecture

AffinityCounts: TypeAlias = tuple[MovingCounts | None, MovingCounts | None]
"""Class counts of the affinities and, if they are predicted, of the descriptors."""


class AffinitiesPredictor(TensorPredictor):
    """Predict for every voxel which of its neighbors belong to the same object.

    The channels are one affinity per offset, followed by the descriptors.
    """

    labels_are = "objects"
    label_channels = 1

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
            neighborhood: Offsets in voxels from a voxel to the neighbors it is compared with.
            lsds: Whether to predict local shape descriptors too, which improves the affinities.
            num_voxels: Radius (sigma) of the descriptors in voxels, measured along the longest edge of a voxel.
            downsample_lsds: Compute descriptors on every n-th voxel only.
            grow_boundary_iterations: Shrink objects by this many voxels before affinities are computed. Descriptors
                describe the whole objects.
            affs_weight_clipmin: Lower limit of the fraction of a class when affinities are weighted.
            affs_weight_clipmax: Upper limit of it.
            lsd_weight_clipmin: Lower limit of the fraction of a class when descriptors are weighted.
            lsd_weight_clipmax: Upper limit of it.
            background_as_object: Whether background is one more object, whose voxels have affinities of 1.

        Raises:
            ConfigError: If no offset is given, or offsets differ in their number of dimensions.
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

    def channel_sources(self, symmetry: Symmetry) -> list[ChannelSource | None]:
        """Return the affinities whose offsets become each other, and the descriptors.

        The affinity of a voxel for an offset is that of its partner for the opposite offset. Offsets that the
        neighborhood does not have in the changed volume have no source, and neither have the descriptors that a mirror
        turns into their opposite, since on background they are 0 and have none.
        """
        offsets = [tuple(map(int, offset)) for offset in self.neighborhood]
        sources: list[ChannelSource | None] = []
        for offset in offsets:
            turned = symmetry.turn(offset)
            opposite = tuple(-value for value in turned)
            if turned in offsets:
                sources.append(ChannelSource(offsets.index(turned)))
            elif opposite in offsets:
                sources.append(ChannelSource(offsets.index(opposite), offset))
            else:
                sources.append(None)
        if self.lsds:
            count = len(offsets)
            for source in turned_descriptors(symmetry):
                sources.append(None if source is None else ChannelSource(count + source))
        return sources

    @property
    def output_array_type(self) -> EmbeddingArray:
        """An embedding that carries the number of spatial dimensions, as in the original."""
        return EmbeddingArray(self.dims)

    def extractor(self, voxel_size: Coordinate) -> LsdExtractor:
        """Return an object that computes descriptors of arrays of a voxel size."""
        return LsdExtractor(self.sigma(voxel_size), downsample=self.downsample_lsds)

    def sigma(self, voxel_size: Coordinate) -> Coordinate:
        """Return the radius of the descriptors along each axis in world units, the same for all axes."""
        return Coordinate((max(voxel_size) * self.num_voxels,) * self.dims)

    def lsd_pad(self, voxel_size: Coordinate) -> Coordinate:
        """Return the reach of descriptors in world units, rounded up to whole voxels."""
        return whole_voxels(self.sigma(voxel_size) * TRUNCATE, voxel_size)

    @property
    def mask_channels(self) -> int:
        """One for each affinity; a single one with descriptors."""
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

    def target_of(self, labels: SampleLabels) -> torch.Tensor:
        """Return affinities and descriptors, float32, all between 0 and 1."""
        gt = labels.channels(1)[0]
        annotated = labels.annotated_around() if self.background_as_object else None
        if gt.device.type != "cpu":
            return torch_affinities(
                gt,
                self.neighborhood,
                self.grow_boundary_iterations,
                unsigned=labels.gt_dtype.kind in "bu",
                background=self.background_as_object,
                annotated=annotated,
                region=labels.inner,
            ).to(torch.float32)
        objects = as_array(gt, labels.gt_dtype)
        if self.background_as_object:
            objects = with_background(objects, None if annotated is None else annotated.numpy())
        place, size = labels.inner, labels.voxel_size
        target = affinities_of_shrunk(objects, self.neighborhood, self.grow_boundary_iterations, np.float32, place)
        if self.lsds:
            sigma = self.sigma(size)
            descriptors = local_shape_descriptors(objects, sigma, size, self.downsample_lsds, place)
            target = np.concatenate([target, descriptors])
        return torch.from_numpy(target)

    def weight_classes(self, labels: SampleLabels, target: torch.Tensor) -> list[Classes]:
        """Return ones and zeros of each affinity, and objects and background for the descriptors.

        Affinities to a partner that is not annotated, or outside of the mask, are unknown if the mask reaches beyond
        the target, as it does in training. A mask over the target alone says nothing about partners behind its edge;
        then the voxel itself decides, as in the original.
        """
        count = len(self.neighborhood)
        on_cpu = target.device.type == "cpu"  # where numpy converts in a fraction of the time
        same = torch.from_numpy(target[:count].numpy().astype(np.uint8)) if on_cpu else target[:count].to(torch.uint8)
        limits = self.affs_weight_clipmin, self.affs_weight_clipmax
        classes = [Classes(mark_unknown(same, self._known(labels)), True, *limits)]
        if self.lsds:
            inside = labels.inside(1)
            objects = is_set(inside) if labels.gt_dtype.kind in "bu" else inside > 0
            limits = self.lsd_weight_clipmin, self.lsd_weight_clipmax
            codes = mark_unknown(objects, labels.annotated(1))
            classes.append(Classes(codes, True, *limits, repeat=num_descriptors(self.dims)))
        return classes

    def _known(self, labels: SampleLabels) -> torch.Tensor:
        """Return where affinities are known, with one channel or one per affinity."""
        annotated = labels.annotated(len(self.neighborhood))
        if not labels.mask_reaches_out:
            return annotated
        mask, place = labels.mask_channels, labels.mask_place
        if mask.device.type != "cpu":
            return torch_known_affinities(mask, self.neighborhood, self.grow_boundary_iterations, place)
        known = known_affinities(mask.numpy(), self.neighborhood, self.grow_boundary_iterations, place)
        return torch.from_numpy(known)

    def pack_counts(self, counts: Sequence[MovingCounts | None]) -> AffinityCounts:
        """Return the class counts of affinities and of descriptors (None without)."""
        return counts[0], counts[1] if self.lsds else None

    def unpack_counts(self, moving_class_counts: AffinityCounts | None) -> Sequence[MovingCounts | None]:
        """Return the class counts of affinities and of descriptors."""
        return moving_class_counts or ()

    @property
    def targets_on_device(self) -> bool:
        """Whether labels may be on any device: not where descriptors are computed."""
        return not self.lsds

    def mask_region_for_roi(self, target_spec: Any) -> Any:
        """Return where partners lie; the mask farther away matters only if background is an object."""
        if self.background_as_object:
            return self.gt_region_for_roi(target_spec)
        return grow_region(target_spec, *self._affinity_context(region_voxel_size(target_spec)))

    def _affinity_context(self, voxel_size: Coordinate) -> tuple[Coordinate, Coordinate]:
        """Return the reach of affinities and of the boundaries they depend on, on either side, in world units."""
        negative, positive = padding(self.neighborhood, voxel_size)
        grown = voxel_size * self.grow_boundary_iterations
        return grown - negative, grown + positive

    def gt_region_for_roi(self, target_spec: Any) -> Any:
        """Widen the region by the reach of affinities or of descriptors on either side, whichever is larger."""
        voxel_size = region_voxel_size(target_spec)
        before, after = self._affinity_context(voxel_size)
        if self.lsds:
            context = self.lsd_pad(voxel_size)
            before = Coordinate(max(a, b) for a, b in zip(before, context, strict=True))
            after = Coordinate(max(a, b) for a, b in zip(after, context, strict=True))
        return grow_region(target_spec, before, after)
