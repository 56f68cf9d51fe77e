"""Rotated and elastically deformed samples."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import gunpowder as gp
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from dacapo.errors import ConfigError

Floats = npt.NDArray[np.floating[Any]]


class ElasticAugment(gp.BatchFilter):  # type: ignore[misc]
    """Rotate a sample around its centre and deform it smoothly.

    The deformation moves the points of a coarse grid by normally distributed distances and interpolates between them
    (cubic convolution, Keys 1981, which passes through the values at the grid points). All arrays of a request are
    deformed alike, each at its own voxel size. Arrays that are interpolatable, or of a floating point type where that
    is left open, are interpolated linearly; all others take the value of the nearest voxel, so no label is made up.
    """

    def __init__(
        self,
        control_point_spacing: Sequence[float],
        control_point_displacement_sigma: Sequence[float],
        rotation_interval: Sequence[float],
        subsample: int = 1,
        augmentation_probability: float = 1.0,
        uniform_3d_rotation: bool = False,
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
        self.spacing = np.array(control_point_spacing, dtype=float)
        self.sigma = np.array(control_point_displacement_sigma, dtype=float)
        self.rotation_interval = (rotation_interval[0], rotation_interval[1])
        self.subsample = subsample
        self.augmentation_probability = augmentation_probability
        self.uniform_3d_rotation = uniform_3d_rotation
        self._samplings: dict[gp.ArrayKey, _Sampling] = {}

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

    def skip_node(self, request: gp.BatchRequest) -> bool:
        """Return whether chance leaves this sample alone."""
        return random.random() >= self.augmentation_probability

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Draw the transformation and ask for the region that it reads from.

        Raises:
            ConfigError: If a graph is requested.
        """
        if request.graph_specs:
            raise ConfigError(f"elastic augmentation of graphs is not supported: {list(request.graph_specs)}")
        deformation = self._draw(request.get_total_roi())
        self._samplings = {}
        shared: dict[tuple[Coordinate, Coordinate, Coordinate], _Sampling] = {}
        grids = self._grids(request)
        dependencies = gp.BatchRequest()
        for key, spec in request.array_specs.items():
            voxel_size = self.spec[key].voxel_size
            place = voxel_size, spec.roi.offset, spec.roi.shape
            if place not in shared:
                grid, coordinates = grids[voxel_size]
                if coordinates is None:
                    coordinates = deformation.source_voxels(grid, voxel_size, self.subsample)
                    grids[voxel_size] = grid, coordinates
                shared[place] = _sample(coordinates, grid, spec.roi, voxel_size)
            self._samplings[key] = shared[place]
            spec.roi = self._samplings[key].source_roi
            dependencies[key] = spec.copy()
        return dependencies

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Read every voxel from where the transformation says."""
        output = gp.Batch()
        for key, array in batch.arrays.items():
            sampling = self._samplings[key]
            interpolatable = self.spec[key].interpolatable
            if interpolatable is None:
                interpolatable = np.issubdtype(array.data.dtype, np.floating)
            spec = array.spec.copy()
            spec.roi = request[key].roi
            apply = interpolate_linearly if interpolatable else take_nearest
            output[key] = gp.Array(apply(array.data, sampling.coordinates), spec)
        return output

    def _grids(self, request: gp.BatchRequest) -> dict[Coordinate, tuple[Roi, Floats | None]]:
        """Return the smallest region that covers all arrays of one voxel size, by voxel size."""
        grids: dict[Coordinate, tuple[Roi, Floats | None]] = {}
        for key, spec in request.array_specs.items():
            voxel_size = self.spec[key].voxel_size
            grid = grids[voxel_size][0].union(spec.roi) if voxel_size in grids else spec.roi
            grids[voxel_size] = grid, None
        return grids

    def _draw(self, roi: Roi) -> Deformation:
        dims = len(self.spacing)
        sizes = [spec.voxel_size for spec in self.spec.array_specs.values() if spec.voxel_size is not None]
        # The last of the voxels that displacements are evaluated at can lie this far outside.
        extent = np.array(roi.shape) + self.subsample * np.max(sizes, axis=0)
        num_points = np.ceil(extent / self.spacing).astype(int) + 4
        displacements = np.random.normal(size=(dims, *num_points)) * self.sigma.reshape(-1, *(1,) * dims)
        centre = np.array(roi.offset) + np.array(roi.shape) / 2
        return Deformation(
            self._draw_rotation(dims), centre, displacements, np.array(roi.offset) - 1.5 * self.spacing, self.spacing
        )

    def _draw_rotation(self, dims: int) -> Floats:
        """Return a random rotation matrix."""
        if dims == 3 and self.uniform_3d_rotation:
            return np.asarray(Rotation.from_quat(np.random.normal(size=4)).as_matrix())
        angle = np.random.uniform(*self.rotation_interval)
        rotation = np.eye(dims)
        if dims > 1:
            rotation[-2:, -2:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        return rotation


class Deformation(NamedTuple):
    """A map from points of the deformed sample to points of the original, in world units.

    Attributes:
        rotation: Matrix that is applied around ``centre``.
        centre: A point that the rotation keeps.
        displacements: Vectors at the grid points, added after rotation, shape (dims, *number of grid points).
        origin: Where the first grid point lies.
        spacing: Distance of grid points.
    """

    rotation: Floats
    centre: Floats
    displacements: Floats
    origin: Floats
    spacing: Floats

    def source_voxels(self, roi: Roi, voxel_size: Coordinate, subsample: int = 1) -> Floats:
        """Return where every voxel of a region reads from.

        Args:
            roi: The region in world units.
            voxel_size: In world units.
            subsample: Evaluate displacements at every so many voxels only, and linearly in between.

        Returns:
            Positions in voxels, 0 being the centre of the first voxel of ``roi``, shape (dims, *shape of the region).
        """
        size = np.array(voxel_size, dtype=float)
        shape = tuple(int(n) for n in roi.shape / voxel_size)
        centre = (self.centre - np.array(roi.offset)) / size - 0.5
        # Rotation acts on world units, positions count voxels.
        matrix = self.rotation * size[None, :] / size[:, None]
        offsets = [np.arange(n) - c for n, c in zip(shape, centre, strict=True)]
        weights = [self._weights(axis, roi, size[axis], n, subsample) for axis, n in enumerate(shape)]
        result = np.empty((len(shape), *shape), dtype=np.float32)
        for component in range(len(shape)):
            field = self.displacements[component] / size[component]
            for weight in weights:
                # Interpolates the first axis and moves it to the end, so after all axes the order is as before.
                field = np.tensordot(field, weight, axes=(0, 1))
            result[component] = field + centre[component]
            for axis, offset in enumerate(offsets):
                along = (offset * matrix[component, axis]).astype(np.float32)
                result[component] += along.reshape([-1 if a == axis else 1 for a in range(len(shape))])
        return result

    def _weights(self, axis: int, roi: Roi, size: float, count: int, subsample: int) -> npt.NDArray[np.float32]:
        """Return the matrix that interpolates along an axis from grid points to voxels, shape (voxels, points)."""
        steps = -(-max(count - 1, 1) // subsample) + 1
        knots = (roi.offset[axis] + (np.arange(steps) * subsample + 0.5) * size - self.origin[axis]) / self.spacing[
            axis
        ]
        cubic = keys_kernel(knots[:, None] - np.arange(self.displacements.shape[axis + 1])[None, :])
        voxels = np.arange(count)[:, None] / subsample
        linear = np.clip(1 - np.abs(voxels - np.arange(steps)[None, :]), 0, None)
        return np.asarray(linear @ cubic, dtype=np.float32)


def keys_kernel(distance: Floats) -> Floats:
    """Return the weights of cubic convolution with a = -1/2 (Keys 1981, eq. 15) at distances in grid steps."""
    x = np.abs(distance)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


class _Sampling(NamedTuple):
    """What to read for an array, and at which positions in it, counted from its first voxel."""

    source_roi: Roi
    coordinates: Floats


def _sample(coordinates: Floats, grid: Roi, roi: Roi, voxel_size: Coordinate) -> _Sampling:
    """Cut out the positions of a part of a grid and find the smallest region that holds them all."""
    part = coordinates[(slice(None), *((roi - grid.offset) / voxel_size).to_slices())]
    spatial = tuple(range(1, part.ndim))
    lower = np.floor(part.min(axis=spatial)).astype(int)
    upper = np.floor(part.max(axis=spatial)).astype(int) + 2  # both neighbours, end exclusive
    source_roi = Roi(grid.offset + Coordinate(lower) * voxel_size, Coordinate(upper - lower) * voxel_size)
    return _Sampling(source_roi, part - lower.reshape(-1, *(1,) * len(spatial)).astype(np.float32))


def interpolate_linearly(data: npt.NDArray[Any], coordinates: Floats) -> npt.NDArray[Any]:
    """Return linearly interpolated values at positions in voxels; leading axes of ``data`` are channels."""
    dims = coordinates.shape[0]
    channels = data.reshape(-1, *data.shape[data.ndim - dims :]).astype(np.float32, copy=False)
    values = np.stack([map_coordinates(channel, coordinates, order=1, mode="nearest") for channel in channels])
    if np.issubdtype(data.dtype, np.integer):
        values = np.rint(values)
    return values.reshape(*data.shape[: data.ndim - dims], *coordinates.shape[1:]).astype(data.dtype, copy=False)


def take_nearest(data: npt.NDArray[Any], coordinates: Floats) -> npt.NDArray[Any]:
    """Return the values of the nearest voxels, unchanged; leading axes of ``data`` are channels.

    Indexing, and not ``map_coordinates``, because that goes through floating point numbers, which do not hold every
    64-bit label.
    """
    dims = coordinates.shape[0]
    shape = data.shape[data.ndim - dims :]
    flat = np.zeros(coordinates.shape[1:], dtype=np.intp)
    for position, size in zip(coordinates, shape, strict=True):
        flat *= size
        flat += np.clip(np.floor(position + 0.5).astype(np.intp), 0, size - 1)
    return data.reshape(*data.shape[: data.ndim - dims], -1)[..., flat]
