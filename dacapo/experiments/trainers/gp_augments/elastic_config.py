"""Rotated and elastically deformed samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from dacapo.experiments.config import field

from ..torch_augments import Change, SampleRois, draw_deformation
from .augment_config import AugmentConfig, range_problem

if TYPE_CHECKING:
    import gunpowder as gp
    import numpy as np


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

    def problem(self) -> str | None:
        """Return what is wrong with the values, or None."""
        spacing, sigma = self.control_point_spacing, self.control_point_displacement_sigma
        if not spacing or min(spacing) <= 0:
            return f"control_point_spacing is {spacing}, but needs one value above 0 per spatial axis"
        if len(sigma) != len(spacing) or min(sigma) < 0:
            return f"control_point_displacement_sigma is {sigma}, but needs {len(spacing)} values that are not negative"
        if self.subsample < 1:
            return f"subsample is {self.subsample}, but must be at least 1"
        return range_problem("rotation_interval", self.rotation_interval)

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

    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        """Draw the change of one sample, which acts on all arrays."""
        return draw_deformation(
            wanted,
            rng,
            self.control_point_spacing,
            self.control_point_displacement_sigma,
            self.rotation_interval,
            self.subsample,
            self.uniform_3d_rotation,
        )
