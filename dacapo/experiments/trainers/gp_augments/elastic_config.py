"""Rotated and elastically deformed samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from dacapo.experiments.config import field

from .augment_config import AugmentConfig

if TYPE_CHECKING:
    import gunpowder as gp


@attrs.define
class ElasticAugmentConfig(AugmentConfig):
    """Rotate samples and deform them smoothly."""

    control_point_spacing: list[int] = field(
        "Distance between the control points of the deformation in world units, one value per spatial axis."
    )
    control_point_displacement_sigma: list[float] = field(
        "Standard deviation of the displacement of control points in world units, one value per spatial axis."
    )
    rotation_interval: tuple[float, float] = field(
        "Smallest and largest angle of rotation in radians, in the plane of the last two axes.", converter=tuple
    )
    subsample: int = field("Evaluate the deformation at every so many voxels only, and linearly in between.", default=1)
    uniform_3d_rotation: bool = field(
        "Rotate three-dimensional samples into any direction, whatever rotation_interval says.", default=False
    )

    def node(
        self,
        _raw_key: gp.ArrayKey | None = None,
        _gt_key: gp.ArrayKey | None = None,
        _mask_key: gp.ArrayKey | None = None,
    ) -> Any:
        """Return the node, which acts on all arrays."""
        from dacapo.gp import ElasticAugment

        return ElasticAugment(
            control_point_spacing=self.control_point_spacing,
            control_point_displacement_sigma=self.control_point_displacement_sigma,
            rotation_interval=self.rotation_interval,
            subsample=self.subsample,
            uniform_3d_rotation=self.uniform_3d_rotation,
        )
