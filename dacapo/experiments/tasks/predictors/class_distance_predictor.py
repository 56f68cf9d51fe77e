"""What the predictors of signed distances share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from dacapo.errors import ConfigError
from dacapo.utils.distances import normalize_distances, scale_of, signed_distance, trusted_distances
from dacapo.utils.tensors import as_array

from .predictor import Predictor, grow_region, read_labels, read_mask, region_voxel_size, whole_voxels, wrap_channels
from .torch_targets import SampleLabels

if TYPE_CHECKING:
    from funlib.geometry import Coordinate, Roi

    from dacapo.experiments.datasplits.datasets.arrays import Array


class ClassDistancePredictor(Predictor):
    """Base of predictors of distances to the boundaries of one or more classes.

    Ground truth has one binary channel per class. Distances are normalized by tanh(distance / ``scale_factor``).

    Attributes:
        channels: Names of the classes.
        scale_factor: World units.
        mask_distances: Whether to leave out distances that a boundary outside of the annotated region could make
            wrong. More ground truth is requested then.
    """

    def __init__(self, channels: Sequence[str], scale_factor: float, mask_distances: bool) -> None:
        """Set classes and scale.

        Raises:
            ConfigError: If there is no class, or the scale is not positive.
        """
        if not channels:
            raise ConfigError("distances need at least one channel, but none is named")
        if scale_factor <= 0:
            raise ConfigError(f"scale_factor is {scale_factor}, but distances (world units) need a positive one")
        self.channels = list(channels)
        self.scale_factor = scale_factor
        self.mask_distances = mask_distances

    @property
    def label_channels(self) -> int:
        """One for each class."""
        return len(self.channels)

    @property
    def mask_channels(self) -> int:
        """One for each class."""
        return len(self.channels)

    @property
    def _scale(self) -> float:
        """The scale in world coordinates."""
        return self.scale_factor * self.world_parts

    def padding(self, gt_voxel_size: Coordinate) -> Coordinate:
        """Return the scale, rounded up to whole voxels; distances beyond it hardly differ."""
        return whole_voxels(self._scale, gt_voxel_size)

    def gt_region_for_roi(self, target_spec: Any) -> Any:
        """Widen the region on all sides by :meth:`padding` if distances are masked."""
        if not self.mask_distances:
            return super().gt_region_for_roi(target_spec)
        padding = self.padding(region_voxel_size(target_spec))
        return grow_region(target_spec, padding, padding)

    def create_target(self, gt: Array) -> Array:
        """Return what :meth:`process` makes of the labels, distances normalized by tanh(distance / scale).

        Raises:
            DtypeError: If labels are neither integers nor bool.
            ChannelMismatchError: If ground truth has not one channel per class.
        """
        labels = read_labels(gt, len(self.channels))
        return wrap_channels(self.process(labels, gt.voxel_size, "tanh", self._scale), gt)

    def _torch_distances(
        self, labels: SampleLabels
    ) -> tuple[npt.NDArray[np.float32], torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the target, and for each class where it is, where it is annotated and where distances are trusted.

        All of them channels first, in the region of the target. The last channels of the target are the distances.
        """
        count = len(self.channels)
        objects = labels.channels(count)
        values = as_array(objects, labels.gt_dtype)
        target = self.process(values, labels.voxel_size, "tanh", self._scale)
        inner = (slice(None), *labels.inner)
        known = labels.annotated(count).expand(count, *target[inner].shape[1:])
        trusted = known
        if self.mask_distances:
            mask = np.broadcast_to(labels.mask.numpy() != 0, values.shape)
            trust = self.create_distance_mask(target[-count:], mask, labels.voxel_size, "tanh", self._scale)
            trusted = torch.from_numpy(trust[inner] != 0)
        return np.ascontiguousarray(target[inner]), objects[inner] != 0, known, trusted

    def _trusted(self, distances: npt.NDArray[Any], roi: Roi, mask: Array) -> npt.NDArray[Any]:
        """Return 1 where the distances of a region can be trusted, by a mask that may reach beyond it."""
        context = self.padding(mask.voxel_size)
        box = roi.grow(context, context).intersect(mask.roi)
        around = read_mask(mask, box, (len(distances), *(box.shape / mask.voxel_size)))
        place = (slice(None), *((roi - box.offset) / mask.voxel_size).to_slices())
        whole = np.zeros(around.shape, dtype=distances.dtype)
        whole[place] = distances
        trusted: npt.NDArray[Any] = self.create_distance_mask(whole, around, mask.voxel_size, "tanh", self._scale)
        trusted = trusted[place]
        return trusted

    def create_distance_mask(
        self,
        distances: npt.NDArray[Any],
        mask: npt.NDArray[Any],
        voxel_size: Coordinate,
        normalize: str | None = None,
        normalize_args: float | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Return 1 where a distance cannot be wrong because of boundaries outside of the mask.

        Args:
            distances: Channels first, as :meth:`process` returns them, those of distances only.
            mask: Channels first, not 0 where annotated.
            voxel_size: World units.
            normalize: How the distances were normalized, as in :meth:`process`.
            normalize_args: The scale they were normalized with.
        """
        return channel_trust(distances, mask, voxel_size, normalize, normalize_args)

    @abstractmethod
    def process(
        self,
        labels: npt.NDArray[Any],
        voxel_size: Coordinate,
        normalize: str | None = None,
        normalize_args: float | None = None,
    ) -> npt.NDArray[np.float32]:
        """Compute the target of all channels.

        Args:
            labels: Channels first, 0 is background.
            voxel_size: World units.
            normalize: "tanh" for tanh(distance / ``normalize_args``), None for world units.
            normalize_args: The scale, world units.
        """
        raise NotImplementedError


def channel_distances(
    labels: npt.NDArray[Any], voxel_size: Coordinate, normalize: str | None, scale: float | None
) -> npt.NDArray[np.float32]:
    """Compute the signed distances of each channel to its boundaries; see :mod:`dacapo.utils.distances`."""
    distances = np.stack([signed_distance(channel, voxel_size) for channel in labels])
    return normalize_distances(distances, normalize, scale)


def channel_trust(
    distances: npt.NDArray[Any],
    mask: npt.NDArray[Any],
    voxel_size: Coordinate,
    normalize: str | None,
    scale: float | None,
) -> npt.NDArray[np.uint8]:
    """Return 1 where the distance of a channel can be trusted, channel by channel; a mask of one channel is for all."""
    tanh_scale = scale_of(normalize, scale)
    masks = np.broadcast_to(mask, distances.shape)
    trusted = [trusted_distances(*pair, voxel_size, tanh_scale) for pair in zip(distances, masks, strict=True)]
    return np.stack(trusted).astype(np.uint8)
