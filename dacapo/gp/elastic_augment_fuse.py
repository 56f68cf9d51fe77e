"""Rotated and elastically deformed samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dacapo.errors import ConfigError
from dacapo.experiments.trainers.gp_augments.change import Change, SampleRois
from dacapo.experiments.trainers.gp_augments.elastic_config import draw_deformation

from .apply_change import ApplyChange


class ElasticAugment(ApplyChange):
    """Rotate a sample around its center and deform it smoothly, all arrays of a request alike.

    It is the change of an ``ElasticAugmentConfig``, by default with lengths in world units.
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
            augmentation_probability: How likely a sample is changed at all.
            uniform_3d_rotation: Rotate three-dimensional samples into any direction instead.
            in_voxels: Spacing and displacement are numbers of voxels and not in world units. Where arrays have
                different voxel sizes, a voxel is as large as their least common multiple.

        Raises:
            ConfigError: If these cannot be.
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
        super().__init__(self._draw, probability=augmentation_probability)
        self.spacing = list(control_point_spacing)
        self.sigma = list(control_point_displacement_sigma)
        self.rotation_interval = (rotation_interval[0], rotation_interval[1])
        self.subsample = subsample
        self.uniform_3d_rotation = uniform_3d_rotation
        self.in_voxels = in_voxels

    def setup(self) -> None:
        """Check the number of dimensions.

        Raises:
            ConfigError: If it is not that of the parameters.
        """
        dims = {spec.roi.dims for _, spec in self.spec.items() if spec.roi is not None}
        if dims != {len(self.spacing)}:
            raise ConfigError(
                f"elastic augmentation has {len(self.spacing)} control point spacings, "
                f"but the arrays have {sorted(dims)} spatial axes; give one per axis"
            )
        super().setup()

    def _draw(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        return draw_deformation(
            wanted,
            rng,
            self.spacing,
            self.sigma,
            self.rotation_interval,
            self.subsample,
            self.uniform_3d_rotation,
            in_voxels=self.in_voxels,
        )
