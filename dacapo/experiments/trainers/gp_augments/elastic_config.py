"""Rotated and elastically deformed samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from dacapo.errors import ConfigError
from dacapo.experiments.config import field
from dacapo.utils.field_types import as_tuple

from ..torch_augments import Change, SampleRois, draw_deformation
from .augment_config import AugmentConfig, range_problem

if TYPE_CHECKING:
    import gunpowder as gp
    import numpy as np


@attrs.define
class ElasticAugmentConfig(AugmentConfig):
    """Rotate samples and deform them smoothly. Lengths are in voxels, as in the original; angles in radians."""

    control_point_spacing: list[int] = field(
        "Distance between the control points of the deformation in voxels, one value per spatial axis. (Where raw data "
        "and labels have different voxel sizes, in multiples of the least common multiple of both.)",
        metadata={"accepts": list[float]},
    )
    control_point_displacement_sigma: list[float] = field(
        "Standard deviation of the displacement of control points in voxels, one value per spatial axis."
    )
    rotation_interval: tuple[float, float] = field(
        "Smallest and largest angle of rotation in radians, in the plane of the last two axes.", converter=as_tuple
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

    def misfit(self, dims: int) -> str | None:
        """Return why samples of this many spatial axes cannot be changed with these values, or None."""
        axes = len(self.control_point_spacing)
        if axes == dims:
            return None
        return (
            f"elastic augmentation has {axes} control point spacings, but the samples have {dims} spatial axes; "
            "give one per axis"
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
            in_voxels=True,
        )

    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        """Draw the change of one sample, which acts on all arrays."""
        problem = self.misfit(wanted.dims)
        if problem is not None:
            raise ConfigError(problem)
        return draw_deformation(
            wanted,
            rng,
            [number * size for number, size in zip(self.control_point_spacing, wanted.step, strict=True)],
            [number * size for number, size in zip(self.control_point_displacement_sigma, wanted.step, strict=True)],
            self.rotation_interval,
            self.subsample,
            self.uniform_3d_rotation,
        )
