"""Rotated and elastically deformed samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from dacapo.errors import ConfigError
from dacapo.experiments.trainers.gp_augments.elastic_config import ElasticAugmentConfig

from .apply_change import ApplyChange


class ElasticAugment(ApplyChange):
    """Rotate a sample around its center and deform it smoothly, all arrays of a request alike.

    This is the change of an ``ElasticAugmentConfig``, but lengths are in world units by default.
    """

    def __init__(
        self,
        control_point_spacing: Sequence[float],
        control_point_displacement_sigma: Sequence[float],
        rotation_interval: Sequence[float],
        subsample: int = 1,
        augmentation_probability: float = 1.0,
        uniform_3d_rotation: bool = False,
        *,
        in_voxels: bool = False,
    ) -> None:
        """Set the strength.

        Args:
            control_point_spacing: Distance of the grid points in world units, per spatial axis.
            control_point_displacement_sigma: Standard deviation of their displacement in world units, per axis.
            rotation_interval: Smallest and largest angle in radians. Three-dimensional samples are rotated in the plane
                of their last two axes.
            subsample: Evaluate the deformation at every so many voxels only, and linearly in between.
            augmentation_probability: Probability of changing a sample at all.
            uniform_3d_rotation: Rotate three-dimensional samples into any direction instead.
            in_voxels: Whether spacing and displacement are in voxels. If voxel sizes differ, a voxel is as large as
                their least common multiple.

        Raises:
            ConfigError: If the values are invalid.
        """
        if len(control_point_spacing) != len(control_point_displacement_sigma):
            raise ConfigError(
                f"control_point_spacing {control_point_spacing} and control_point_displacement_sigma "
                f"{control_point_displacement_sigma} need one value per spatial axis each"
            )
        if min(control_point_spacing) <= 0 or subsample < 1 or len(rotation_interval) != 2:
            raise ConfigError(
                f"control_point_spacing {control_point_spacing} must be above 0, subsample {subsample} at least 1, "
                f"and rotation_interval {rotation_interval} two angles"
            )
        spacing: Any = list(control_point_spacing)  # fractions are fine too
        self.config = ElasticAugmentConfig(
            spacing,
            list(control_point_displacement_sigma),
            (rotation_interval[0], rotation_interval[1]),
            subsample,
            uniform_3d_rotation,
        )
        super().__init__(partial(self.config.torch_augment, in_voxels=in_voxels), probability=augmentation_probability)

    def setup(self) -> None:
        """Check the number of dimensions.

        Raises:
            ConfigError: If it differs from that of the parameters.
        """
        for _, spec in self.spec.items():
            problem = None if spec.roi is None else self.config.misfit(spec.roi.dims)
            if problem is not None:
                raise ConfigError(problem)
        super().setup()
