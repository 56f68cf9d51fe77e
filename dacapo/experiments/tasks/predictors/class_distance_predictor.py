"""Base of the predictors of distances to boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from dacapo.errors import ConfigError
from dacapo.utils.distances import normalize_distances, scale_of, signed_distance, trusted_distances
from dacapo.utils.symmetries import ChannelSource, Symmetry, unchanged_channels
from dacapo.utils.tensors import as_array, is_set

from .predictor import grow_region, region_voxel_size, whole_voxels
from .sample_labels import SampleLabels
from .tensor_predictor import TensorPredictor

if TYPE_CHECKING:
    from funlib.geometry import Coordinate


class ClassDistancePredictor(TensorPredictor):
    """Base of predictors of distances to the boundaries of one or more classes.

    Ground truth has one binary channel per class. Distances are normalized by tanh(distance / ``scale_factor``).

    Attributes:
        channels: Names of the classes.
        scale_factor: World units.
        mask_distances: Whether to leave out distances that could be wrong because of a boundary outside the annotated
            region. More ground truth is requested then.
    """

    labels_are = "masks"

    def __init__(self, channels: Sequence[str], scale_factor: float, mask_distances: bool) -> None:
        """Set what to predict.

        Args:
            channels: Names of the classes.
            scale_factor: Distance at which targets begin to saturate, world units.
            mask_distances: Whether to leave out distances that unannotated boundaries could make wrong.

        Raises:
            ConfigError: If no class is named, or the scale is not positive.
        """
        if not channels:
            raise ConfigError("distances need at least one channel, but none is named")
        if scale_factor <= 0:
            raise ConfigError(f"scale_factor is {scale_factor}, but distances (world units) need a positive one")
        self.channels = list(channels)
        self.scale_factor = scale_factor
        self.mask_distances = mask_distances

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of the channels of ground truth."""
        return list(self.channels)

    def channel_sources(self, symmetry: Symmetry) -> list[ChannelSource | None]:
        """Return that distances stay the same."""
        return unchanged_channels(len(self.channel_names or ()))

    @property
    def label_channels(self) -> int:
        """One for each class."""
        return len(self.channels)

    mask_channels = label_channels

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

    def target_of(self, labels: SampleLabels) -> torch.Tensor:
        """Return the result of :meth:`process`, with distances normalized by tanh(distance / scale)."""
        values = as_array(labels.channels(self.label_channels), labels.gt_dtype)
        target = self.process(values, labels.voxel_size, "tanh", self._scale)
        return torch.from_numpy(np.ascontiguousarray(target[(slice(None), *labels.inner)]))

    def classes_and_trust(
        self, labels: SampleLabels, distances: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return where each class is, where it is annotated, and where its distance can be trusted as well.

        Args:
            labels: Ground truth and mask.
            distances: The distances of the target in its region, channels first.

        Returns:
            Bool, channels first, in the region of the target.
        """
        inside, known = is_set(labels.inside(self.label_channels)), labels.annotated(self.mask_channels)
        if not self.mask_distances:
            return inside, known, known
        mask, place = labels.mask_channels.numpy(), (slice(None), *labels.mask_place)
        whole = np.zeros((len(distances), *mask.shape[1:]), dtype=distances.numpy().dtype)
        whole[place] = distances.numpy()
        size = labels.voxel_size
        trusted = self.create_distance_mask(whole, np.broadcast_to(mask, whole.shape), size, "tanh", self._scale)
        return inside, known, known & torch.from_numpy(trusted[place] != 0)

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
            distances: Channels first, as :meth:`process` returns them, without channels of classes.
            mask: Channels first, not 0 where annotated; a single channel applies to all.
            voxel_size: World units.
            normalize: How the distances were normalized, as in :meth:`process`.
            normalize_args: The scale they were normalized with.
        """
        scale = scale_of(normalize, normalize_args)
        masks = np.broadcast_to(mask, distances.shape)
        trusted = [trusted_distances(*pair, voxel_size, scale) for pair in zip(distances, masks, strict=True)]
        return np.stack(trusted).astype(np.uint8)

    def process(
        self,
        labels: npt.NDArray[Any],
        voxel_size: Coordinate,
        normalize: str | None = None,
        normalize_args: float | None = None,
    ) -> npt.NDArray[np.float32]:
        """Compute the target of all channels from the signed distance of every voxel to the nearest boundary.

        Args:
            labels: Channels first, 0 is background.
            voxel_size: World units.
            normalize: "tanh" for tanh(distance / ``normalize_args``), None for world units.
            normalize_args: The scale, world units.
        """
        distances = np.stack([signed_distance(channel, voxel_size) for channel in labels])
        return self.from_distances(labels, normalize_distances(distances, normalize, normalize_args))

    def from_distances(self, labels: npt.NDArray[Any], distances: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the channels to predict, given the signed distances of each class; these by default.

        Args:
            labels: Channels first, 0 is background.
            distances: Channels first; may be changed in place.
        """
        return distances
