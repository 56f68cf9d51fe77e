"""Rotated and elastically deformed samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError
from dacapo.experiments.config import field
from dacapo.utils.deformation import GRID_MARGIN, grid_weights
from dacapo.utils.field_types import as_tuple
from dacapo.utils.sampling import interpolate_linearly, nearest_voxels, take_nearest

from .augment_config import GeometryAugmentConfig, range_problem
from .change import Change, SampleRois

if TYPE_CHECKING:
    import numpy.typing as npt


class Deformation(Change):
    """Rotated and smoothly deformed samples.

    The source of a voxel is its position, rotated around the center of the sample, plus a displacement. Displacements
    are given at the points of a coarse grid, and interpolated between them by cubic convolution (R. Keys, "Cubic
    convolution interpolation for digital image processing", 1981), which is smooth and passes through the given values.
    Raw values are interpolated linearly at the source; labels are copied from the nearest voxel.
    """

    def __init__(
        self,
        wanted: SampleRois,
        rotation: npt.NDArray[np.float64],
        displacements: npt.NDArray[np.float64],
        spacing: npt.NDArray[np.float64],
        subsample: int,
    ) -> None:
        """Determine the needed regions.

        Args:
            wanted: The regions of the deformed sample.
            rotation: Rotation matrix.
            displacements: Vectors at the points of the grid, world units, shape (dims, *number of points). The grid
                begins ``GRID_MARGIN`` spacings before the sample.
            spacing: Distance of the points of the grid along each axis, world units.
            subsample: Evaluate displacements at every so many of the finest voxels only, and linearly in between.
        """
        total = wanted.total
        self.wanted = wanted
        self.rotation = rotation
        self.displacements = displacements
        self.spacing = spacing
        self.subsample = subsample
        self.center = np.array(total.offset) + np.array(total.shape) / 2
        self.origin = np.array(total.offset) - GRID_MARGIN * spacing
        self._sources: tuple[torch.device, torch.Tensor, torch.Tensor] | None = None
        raw, labels = self._source_voxels(torch.device("cpu"))
        super().__init__(
            attrs.evolve(
                wanted,
                raw=_box(raw, torch.floor, torch.ceil, wanted.raw, wanted.raw_voxel_size),
                labels=self._box_of_nearest(labels),
                mask=self._box_of_nearest(self._of_mask(labels)),
            )
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the source positions, which are faster to compute again than to send."""
        return {**self.__dict__, "_sources": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the attributes."""
        self.__dict__.update(state)

    def raw(self, values: torch.Tensor) -> torch.Tensor:
        """Read raw values at their sources."""
        begin = (self.needed.raw.offset - self.wanted.raw.offset) / self.wanted.raw_voxel_size
        return interpolate_linearly(values, self._source_voxels(values.device)[0], begin)

    def labels(self, values: torch.Tensor) -> torch.Tensor:
        """Read labels at their sources."""
        begin = (self.needed.labels.offset - self.wanted.labels.offset) / self.wanted.label_voxel_size
        return take_nearest(values, self._source_voxels(values.device)[1], begin)

    def mask(self, values: torch.Tensor) -> torch.Tensor:
        """Read a mask at its sources."""
        begin = (self.needed.mask.offset - self.wanted.labels.offset) / self.wanted.label_voxel_size
        return take_nearest(values, self._of_mask(self._source_voxels(values.device)[1]), begin)

    def _of_mask(self, labels: torch.Tensor) -> torch.Tensor:
        """Return the positions of the mask, a part of those of labels; they count from the first voxel of labels."""
        place = (self.wanted.mask - self.wanted.labels.offset) / self.wanted.label_voxel_size
        return labels[(slice(None), *place.to_slices())]

    def _box_of_nearest(self, positions: torch.Tensor) -> Roi:
        return _box(positions, nearest_voxels, nearest_voxels, self.wanted.labels, self.wanted.label_voxel_size)

    def _source_voxels(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the source positions of raw data and of labels, each in voxels of its own region."""
        if self._sources is None or self._sources[0] != device:
            wanted = self.wanted
            if wanted.raw_voxel_size == wanted.label_voxel_size:
                whole = self.source_voxels(wanted.total, wanted.raw_voxel_size, device)
                raw, labels = (self._part(whole, roi) for roi in (wanted.raw, wanted.labels))
            else:
                raw = self.source_voxels(wanted.raw, wanted.raw_voxel_size, device)
                labels = self.source_voxels(wanted.labels, wanted.label_voxel_size, device)
            self._sources = device, raw, labels
        return self._sources[1:]

    def _part(self, whole: torch.Tensor, roi: Roi) -> torch.Tensor:
        """Return the positions of a region, given those of the whole sample."""
        if roi == self.wanted.total:
            return whole
        place = (roi - self.wanted.total.offset) / self.wanted.raw_voxel_size
        begin = torch.tensor(place.offset, dtype=whole.dtype, device=whole.device)
        return whole[(slice(None), *place.to_slices())] - begin.reshape(-1, *(1,) * place.dims)

    def source_voxels(self, roi: Roi, voxel_size: Coordinate, device: torch.device) -> torch.Tensor:
        """Return the source position of every voxel of a region.

        Args:
            roi: The region, world units.
            voxel_size: World units.
            device: The device to compute on.

        Returns:
            Positions in voxels, 0 being the center of the first voxel of ``roi``; shape (dims, *shape of the region).
        """
        size = np.array(voxel_size, dtype=float)
        shape = [int(n) for n in roi.shape / voxel_size]
        dims = len(shape)
        middle = (self.center - np.array(roi.offset)) / size - 0.5
        matrix = self.rotation * size[None, :] / size[:, None]  # rotation acts on world units, positions count voxels
        steps = [np.arange(n) - m for n, m in zip(shape, middle, strict=True)]
        weights = [self._weights(axis, roi, size[axis], n) for axis, n in enumerate(shape)]

        # A GPU may be configured to compute products of single precision inexactly (TF32).
        dtype = torch.float32 if device.type == "cpu" else torch.float64

        def tensor(values: npt.NDArray[Any]) -> torch.Tensor:
            return torch.tensor(np.ascontiguousarray(values), dtype=dtype, device=device)

        terms = tensor(self.displacements / size.reshape(-1, *(1,) * dims)) @ tensor(weights[-1]).T
        if dims == 3:
            terms = tensor(weights[1]) @ terms
        # Interpolation is separable: one product of matrices per axis. The rotation is linear in the first axis, so it
        # adds two terms to the last product: its value for the other axes, and its slope along the first.
        flat = (dims, *(1,) * (dims - 1))
        turned = middle.reshape(flat) + np.zeros((dims, *shape[1:]))
        for axis in range(1, dims):
            turned += matrix[:, axis].reshape(flat) * _along(steps[axis], axis - 1, dims - 1)
        added = np.broadcast_to(matrix[:, 0].reshape(flat), turned.shape)
        terms = torch.cat([terms, tensor(np.stack([turned, added], axis=1))], dim=1).flatten(start_dim=2)
        first = tensor(np.concatenate([weights[0], np.ones((shape[0], 1)), steps[0][:, None]], axis=1))
        return (first @ terms).to(torch.float32).reshape(dims, *shape)

    def _weights(self, axis: int, roi: Roi, size: float, count: int) -> npt.NDArray[np.float64]:
        """Return the matrix that interpolates along an axis from grid points to voxels, shape (voxels, points)."""
        wanted = self.wanted
        finest = min(wanted.raw_voxel_size[axis], wanted.label_voxel_size[axis])
        return grid_weights(
            roi.offset[axis] + (np.arange(count) + 0.5) * size,
            self.origin[axis],
            self.spacing[axis],
            self.displacements.shape[axis + 1],
            wanted.total.offset[axis] + 0.5 * finest,
            self.subsample * finest if self.subsample > 1 else None,
        )


def draw_deformation(
    wanted: SampleRois,
    rng: np.random.Generator,
    spacing: Sequence[float],
    sigma: Sequence[float],
    rotation_interval: tuple[float, float],
    subsample: int = 1,
    uniform_3d_rotation: bool = False,
    *,
    in_voxels: bool = False,
) -> Deformation:
    """Draw a rotation, and the displacements of the grid points.

    Args:
        wanted: The regions of the deformed sample.
        rng: Generator of all random numbers.
        spacing: Distance of the grid points along each axis, world units.
        sigma: Standard deviation of their displacement along each axis, world units.
        rotation_interval: Smallest and largest angle, radians, in the plane of the last two axes.
        subsample: Evaluate displacements at every so many voxels only, and linearly in between.
        uniform_3d_rotation: Rotate three-dimensional samples into any direction instead.
        in_voxels: Spacing and sigma are numbers of voxels, each as large as the least common multiple of voxel sizes.

    Raises:
        ConfigError: If there are not as many spacings as axes.
    """
    dims = wanted.dims
    if len(spacing) != dims:
        raise ConfigError(
            f"elastic augmentation has {len(spacing)} control point spacings, but the samples have {dims} spatial "
            "axes; give one per axis"
        )
    unit = np.array(wanted.step if in_voxels else (1,) * dims)
    steps, deviations = np.array(spacing, dtype=float) * unit, np.array(sigma, dtype=float) * unit
    # The last voxel at which displacements are evaluated can lie this far outside.
    extent = np.array(wanted.total.shape) + subsample * np.maximum(wanted.raw_voxel_size, wanted.label_voxel_size)
    points = np.ceil(extent / steps).astype(int) + 4
    displacements = rng.standard_normal((dims, *points)) * deviations.reshape(-1, *(1,) * dims)
    rotation = _draw_rotation(dims, rng, rotation_interval, uniform_3d_rotation)
    return Deformation(wanted, rotation, displacements, steps, subsample)


def _draw_rotation(
    dims: int, rng: np.random.Generator, interval: tuple[float, float], uniform_3d: bool
) -> npt.NDArray[np.float64]:
    if dims == 3 and uniform_3d:
        from scipy.spatial.transform import Rotation

        return np.asarray(Rotation.from_quat(rng.standard_normal(4)).as_matrix())
    angle = rng.uniform(*interval)
    rotation = np.eye(dims)
    rotation[-2:, -2:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return rotation


def _along(values: npt.NDArray[Any], axis: int, dims: int) -> npt.NDArray[Any]:
    """Return values along one of several axes, shaped for broadcasting along the others."""
    return values.reshape([-1 if a == axis else 1 for a in range(dims)])


def _box(
    positions: torch.Tensor,
    lower: Callable[[torch.Tensor], torch.Tensor],
    upper: Callable[[torch.Tensor], torch.Tensor],
    roi: Roi,
    voxel_size: Coordinate,
) -> Roi:
    """Return the smallest region that contains all voxels that are read for some positions.

    Args:
        positions: In voxels from the first one of ``roi``, shape (dims, *shape).
        lower: Returns the first voxel that is read for a position; must be monotonic.
        upper: Returns the last one, likewise.
        roi: World units.
        voxel_size: World units.
    """
    values = positions.numpy()  # numpy finds extremes in a fraction of the time
    first = lower(torch.from_numpy(np.array([along.min() for along in values])))
    last = upper(torch.from_numpy(np.array([along.max() for along in values])))
    begin, end = Coordinate(map(int, first)), Coordinate(int(number) + 1 for number in last)
    return Roi(roi.offset + begin * voxel_size, (end - begin) * voxel_size)


@attrs.define
class ElasticAugmentConfig(GeometryAugmentConfig):
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
        "Rotate three-dimensional samples into any direction, regardless of rotation_interval.", default=False
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

    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator, *, in_voxels: bool = True) -> Change:
        """Draw the change of one sample, which acts on all arrays; lengths may also be in world units.

        Raises:
            ConfigError: If there are not as many spacings as axes.
        """
        return draw_deformation(
            wanted,
            rng,
            self.control_point_spacing,
            self.control_point_displacement_sigma,
            self.rotation_interval,
            self.subsample,
            self.uniform_3d_rotation,
            in_voxels=in_voxels,
        )
