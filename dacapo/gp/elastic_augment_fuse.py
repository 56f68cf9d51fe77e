"""Rotated and elastically deformed samples."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import attrs
import gunpowder as gp
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi
from scipy.spatial.transform import Rotation

from dacapo.errors import ConfigError
from dacapo.utils.deformation import GRID_MARGIN, grid_weights
from dacapo.utils.deformation import keys_kernel as keys_kernel

Floats = npt.NDArray[np.floating[Any]]

POINTS_AT_ONCE = 2**15
"""Number of positions that are interpolated at once; what this takes of memory fits into the cache of a processor."""


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
        self.given = np.array([control_point_spacing, control_point_displacement_sigma], dtype=float)
        self.in_voxels = in_voxels
        self.spacing, self.sigma = self.given  # world units once the voxel size is known
        self.rotation_interval = (rotation_interval[0], rotation_interval[1])
        self.subsample = subsample
        self.augmentation_probability = augmentation_probability
        self.uniform_3d_rotation = uniform_3d_rotation
        self._samplings: dict[gp.ArrayKey, _Sampling] = {}

    def setup(self) -> None:
        """Check the number of dimensions, and find out how large voxels are.

        Raises:
            ConfigError: If it is not that of the parameters.
        """
        dims = {spec.roi.dims for _, spec in self.spec.items() if spec.roi is not None}
        if dims != {len(self.spacing)}:
            raise ConfigError(
                f"elastic augmentation has {len(self.spacing)} control point spacings, "
                f"but the arrays have {sorted(dims)} spatial axes; give one per axis"
            )
        if self.in_voxels:
            self.spacing, self.sigma = self.given * np.array(self.spec.get_lcm_voxel_size())

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
        shared: dict[tuple[Coordinate, Coordinate, Coordinate, bool], _Sampling] = {}
        grids = self._grids(request)
        dependencies = gp.BatchRequest()
        for key, spec in request.array_specs.items():
            voxel_size = self.spec[key].voxel_size
            # The type of the data says it where the spec does not, but is not known yet; then allow for both.
            linear = self.spec[key].interpolatable is not False
            place = voxel_size, spec.roi.offset, spec.roi.shape, linear
            if place not in shared:
                grid, coordinates = grids[voxel_size]
                if coordinates is None:
                    coordinates = deformation.source_voxels(grid, voxel_size, self.subsample)
                    grids[voxel_size] = grid, coordinates
                shared[place] = _sample(coordinates, grid, spec.roi, voxel_size, linear)
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
            output[key] = gp.Array(sampling.apply(array.data, bool(interpolatable)), spec)
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
        origin = np.array(roi.offset) - GRID_MARGIN * self.spacing
        rotation, finest = self._draw_rotation(dims), np.min(sizes, axis=0).astype(float)
        return Deformation(rotation, centre, displacements, origin, self.spacing, finest)

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
        finest: The smallest voxel size of the arrays that are deformed alike; the given one by default.
    """

    rotation: Floats
    centre: Floats
    displacements: Floats
    origin: Floats
    spacing: Floats
    finest: Floats | None = None

    def source_voxels(self, roi: Roi, voxel_size: Coordinate, subsample: int = 1) -> Floats:
        """Return where every voxel of a region reads from.

        Args:
            roi: The region in world units.
            voxel_size: In world units.
            subsample: Evaluate displacements at every so many of the finest voxels only, and linearly in between.

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
            for weight in weights[:-1]:
                # Interpolates the first axis and moves it to the end.
                field = np.tensordot(field, weight, axes=(0, 1))
            rotated = np.full(shape[:-1], centre[component])
            for axis, offset in enumerate(offsets[:-1]):
                along = [-1 if a == axis else 1 for a in range(rotated.ndim)]
                rotated += (offset * matrix[component, axis]).reshape(along)
            # The last axis in one matrix product, which adds the rotation too: rotated * 1 + 1 * last.
            points = np.moveaxis(field, 0, -1).reshape(rotated.size, -1)
            last = offsets[-1] * matrix[component, -1]
            left = np.concatenate([points, rotated.reshape(-1, 1), np.ones((rotated.size, 1))], axis=1)
            right = np.concatenate([weights[-1].T, np.ones((1, shape[-1])), last[np.newaxis]])
            np.matmul(left.astype(np.float32), right.astype(np.float32), out=result[component].reshape(-1, shape[-1]))
        return result

    def _weights(self, axis: int, roi: Roi, size: float, count: int, subsample: int) -> npt.NDArray[np.float32]:
        """Return the matrix that interpolates along an axis from grid points to voxels, shape (voxels, points)."""
        places = roi.offset[axis] + (np.arange(count) + 0.5) * size
        finest = size if self.finest is None else self.finest[axis]
        begin = self.origin[axis] + GRID_MARGIN * self.spacing[axis] + 0.5 * finest
        return grid_weights(
            places,
            self.origin[axis],
            self.spacing[axis],
            self.displacements.shape[axis + 1],
            begin,
            subsample * finest if subsample > 1 else None,
        ).astype(np.float32)


@attrs.define
class _Sampling:
    """What to read for an array, and at which positions in it, counted from its first voxel."""

    source_roi: Roi
    coordinates: Floats
    nearest: npt.NDArray[np.intp] | None = None

    def apply(self, data: npt.NDArray[Any], interpolatable: bool) -> npt.NDArray[Any]:
        """Return the values at the positions. All data must have the same shape, but for leading axes."""
        if interpolatable:
            return interpolate_linearly(data, self.coordinates)
        if self.nearest is None:
            # Labels and their mask share it.
            self.nearest = nearest_voxels(self.coordinates, data.shape[data.ndim - len(self.coordinates) :])
        return _take(data, self.nearest, len(self.coordinates))


def _sample(coordinates: Floats, grid: Roi, roi: Roi, voxel_size: Coordinate, linear: bool) -> _Sampling:
    """Cut out the positions of a part of a grid, and find the smallest region with what is needed at them.

    That is both neighbours for linear interpolation, else the nearest voxel.
    """
    part = coordinates[(slice(None), *((roi - grid.offset) / voxel_size).to_slices())]
    spatial = tuple(range(1, part.ndim))
    half = np.float32(0.0 if linear else 0.5)
    lower = np.floor(part.min(axis=spatial) + half).astype(int)
    upper = np.floor(part.max(axis=spatial) + half).astype(int) + (2 if linear else 1)  # end exclusive
    source_roi = Roi(grid.offset + Coordinate(lower) * voxel_size, Coordinate(upper - lower) * voxel_size)
    return _Sampling(source_roi, part - lower.reshape(-1, *(1,) * len(spatial)).astype(np.float32))


def interpolate_linearly(data: npt.NDArray[Any], coordinates: Floats) -> npt.NDArray[Any]:
    """Return linearly interpolated values at positions in voxels; leading axes of ``data`` are channels.

    The values are those of ``scipy.ndimage.map_coordinates`` with ``order=1`` and ``mode="nearest"``, which takes twice
    as long and more, up to the rounding of float32.
    """
    dims = coordinates.shape[0]
    shape = data.shape[data.ndim - dims :]
    channels = np.ascontiguousarray(data, dtype=np.float32).reshape(-1, math.prod(shape))
    positions = coordinates.reshape(dims, -1)
    values = np.empty((len(channels), positions.shape[1]), dtype=np.float32)
    for begin in range(0, positions.shape[1], POINTS_AT_ONCE):
        part = slice(begin, begin + POINTS_AT_ONCE)
        lower, steps, fractions = _neighbours(positions[:, part], shape)
        for channel, value in zip(channels, values, strict=True):
            value[part] = _between(channel, lower, steps, fractions)
    if np.issubdtype(data.dtype, np.integer):
        values = np.rint(values)
    return values.reshape(*data.shape[: data.ndim - dims], *coordinates.shape[1:]).astype(data.dtype, copy=False)


def _neighbours(positions: Floats, shape: Sequence[int]) -> tuple[npt.NDArray[np.intp], list[int], list[Floats]]:
    """Return the flat index of the lower neighbour of each position, the step to the upper one, and how far it is."""
    # Small integers are faster to reckon with, where they hold the number of voxels.
    kind = np.int32 if math.prod(shape) < 2**31 else np.intp
    index: npt.NDArray[Any] = np.zeros(positions.shape[1], dtype=kind)
    steps, fractions = [], []
    for axis, (position, size) in enumerate(zip(positions, shape, strict=True)):
        lower = np.clip(np.floor(position), 0, max(size - 2, 0))
        fractions.append(np.clip(position - lower, 0, 1 if size > 1 else 0).astype(np.float32, copy=False))
        index *= size
        index += lower.astype(kind)
        steps.append(math.prod(shape[axis + 1 :]) if size > 1 else 0)
    return index.astype(np.intp, copy=False), steps, fractions


def _between(
    channel: npt.NDArray[np.float32], lower: npt.NDArray[np.intp], steps: Sequence[int], fractions: Sequence[Floats]
) -> npt.NDArray[np.float32]:
    """Return what lies between the neighbours on all axes; of two adjacent ones, the last axis differs."""
    corners = itertools.product(*((0, step) for step in steps))
    values = [channel.take(lower + sum(corner)) for corner in corners]
    for fraction in reversed(fractions):
        for below, above in zip(values[::2], values[1::2], strict=True):
            above -= below
            above *= fraction
            below += above
        values = values[::2]
    return values[0]


def nearest_voxels(coordinates: Floats, shape: Sequence[int]) -> npt.NDArray[np.intp]:
    """Return the flat index of the voxel of a shape that is nearest to each position."""
    index = np.zeros(coordinates.shape[1:], dtype=np.intp)
    for position, size in zip(coordinates, shape, strict=True):
        index *= size
        # Above 0, cutting off the fraction is rounding down.
        index += np.clip(position + np.float32(0.5), 0, size - 1).astype(np.intp)
    return index


def take_nearest(data: npt.NDArray[Any], coordinates: Floats) -> npt.NDArray[Any]:
    """Return the values of the nearest voxels, unchanged; leading axes of ``data`` are channels.

    Indexing, and not ``map_coordinates``, because that goes through floating point numbers, which do not hold every
    64-bit label.
    """
    dims = coordinates.shape[0]
    return _take(data, nearest_voxels(coordinates, data.shape[data.ndim - dims :]), dims)


def _take(data: npt.NDArray[Any], index: npt.NDArray[np.intp], dims: int) -> npt.NDArray[Any]:
    return data.reshape(*data.shape[: data.ndim - dims], -1).take(index, axis=-1)
