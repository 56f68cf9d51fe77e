"""Mirrored and transposed samples."""

from __future__ import annotations

from dacapo.experiments.trainers.gp_augments.simple_config import SimpleAugmentConfig

from .apply_change import ApplyChange


class SimpleAugment(ApplyChange):
    """Mirror and transpose all arrays at random; only axes of the same voxel size are transposed."""

    def __init__(
        self,
        mirror_only: list[int] | None = None,
        transpose_only: list[int] | None = None,
        mirror_probs: list[float] | None = None,
    ) -> None:
        """Set the axes, counted from 0, and how likely each is mirrored; see ``SimpleAugmentConfig``."""
        super().__init__(SimpleAugmentConfig(mirror_only, transpose_only, mirror_probs).torch_augment)
