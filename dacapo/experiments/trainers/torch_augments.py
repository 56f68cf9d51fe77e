"""What augmentations do to a sample, as operations on tensors.

An augmentation is asked what it needs to give a wanted sample, and draws what is random. What comes back, a `Change`,
holds a few numbers only and can be sent to another process or device before it acts on tensors. The last augmentation
is asked first, and each of the others for what the one behind it needs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, TrainingError
from dacapo.utils.deformation import GRID_MARGIN, grid_weights

# Voxels that are interpolated at a time on a CPU, so that what lies between fits into its cache.
CHUNK = 1 << 17


@attrs.frozen(slots=False)
class SampleRois:
    """Where the arrays of a sample lie, in world units.

    Attributes:
        raw: Region of raw data.
        labels: Region of ground truth.
        raw_voxel_size: Voxel size of raw data.
        label_voxel_size: Voxel size of ground truth and mask.
        mask: Region of the mask, inside of that of ground truth; all of it by default.
    """

    raw: Roi
    labels: Roi
    raw_voxel_size: Coordinate
    label_voxel_size: Coordinate
    mask: Roi = attrs.field()

    @mask.default
    def _labels(self) -> Roi:
        return self.labels

    @property
    def dims(self) -> int:
        """Number of spatial dimensions."""
        return len(self.raw_voxel_size)

    @cached_property
    def total(self) -> Roi:
        """The smallest region that holds all."""
        return self.raw.union(self.labels)

    @cached_property
    def step(self) -> Coordinate:
        """The least common multiple of the voxel sizes."""
        return Coordinate(
            math.lcm(int(a), int(b)) for a, b in zip(self.raw_voxel_size, self.label_voxel_size, strict=True)
        )


@attrs.define(slots=False)
class Change:
    """What one augmentation does to one sample.

    Attributes:
        needed: Where the values to change lie.
    """

    needed: SampleRois

    def raw(self, values: torch.Tensor) -> torch.Tensor:
        """Return changed raw values, float32, axes channel and space; the given tensor may be overwritten."""
        return values

    def labels(self, values: torch.Tensor) -> torch.Tensor:
        """Return changed ground truth, whose last axes are space."""
        return values

    def mask(self, values: torch.Tensor) -> torch.Tensor:
        """Return a changed mask, whose last axes are space."""
        return self.labels(values)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread, as it does in the processes of a loader.

    How work is divided among threads decides about the rounding of sums and powers. With one thread, a sample is the
    same to the last bit wherever it is made.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# Intensities


@attrs.define
class Noise(Change):
    """Normally distributed noise.

    Attributes:
        deviation: Its standard deviation.
        seed: Of the generator that draws it, on the device of the values.
        clip: Whether to keep values between 0 and 1, or -1 and 1 if some are negative.
    """

    deviation: float
    seed: int
    clip: bool

    def raw(self, values: torch.Tensor) -> torch.Tensor:
        """Add noise.

        Raises:
            TrainingError: If values are to be kept in a range that they are not in.
        """
        low = 0.0
        if self.clip:
            smallest, largest = value_range(values)
            if not (smallest >= -1 and largest <= 1):
                raise TrainingError(
                    f"raw values go from {smallest:g} to {largest:g}, but NoiseAugmentConfig keeps them between -1 and "
                    "1; bring them there with an IntensitiesArrayConfig around the raw array, or set clip to false"
                )
            low = -1.0 if smallest < 0 else 0.0
        generator = torch.Generator(device=values.device).manual_seed(self.seed)
        noise = torch.randn(values.shape, generator=generator, device=values.device)
        values = noise.mul_(self.deviation).add_(values)
        return values.clamp_(low, 1.0) if self.clip else values


@attrs.define
class Gamma(Change):
    """A power of the values, between the smallest and the largest of them."""

    gamma: float

    def raw(self, values: torch.Tensor) -> torch.Tensor:
        """Scale to 0..1, raise to the power and scale back; a sample of one value stays as it is."""
        low, high = value_range(values)
        if not high > low:
            return values
        return values.sub_(low).div_(high - low).clamp_(min=0).pow_(self.gamma).mul_(high - low).add_(low)


@attrs.define
class Intensity(Change):
    """Values scaled around their mean and shifted."""

    scale: float
    shift: float
    clip: bool

    def raw(self, values: torch.Tensor) -> torch.Tensor:
        """Change the values.

        Raises:
            TrainingError: If values are to be kept between 0 and 1 and are not there.
        """
        if self.clip:
            low, high = value_range(values)
            if not (low >= 0 and high <= 1):
                raise TrainingError(
                    f"raw values go from {low:g} to {high:g}, but IntensityAugmentConfig keeps them between 0 and 1; "
                    "bring them there with an IntensitiesArrayConfig around the raw array, or set clip to false"
                )
        mean = values.mean()
        values = values.sub_(mean).mul_(self.scale).add_(mean + self.shift)
        return values.clamp_(0.0, 1.0) if self.clip else values


@attrs.define
class ScaleShift(Change):
    """Values multiplied with a number, and a number added."""

    scale: float
    shift: float

    def raw(self, values: torch.Tensor) -> torch.Tensor:
        """Change the values."""
        return values.mul_(self.scale).add_(self.shift)


def value_range(values: torch.Tensor) -> tuple[float, float]:
    """Return the smallest and the largest value; NaN if there is one."""
    if values.device.type == "cpu":  # numpy takes a twentieth of the time here
        return float(values.numpy().min()), float(values.numpy().max())
    low, high = torch.stack(torch.aminmax(values)).tolist()
    return low, high


# Mirroring and transposing


@attrs.define
class Flip(Change):
    """Mirrored and transposed samples.

    Attributes:
        mirrored: For each spatial axis, whether it is mirrored. This comes first.
        order: For each axis of the result, the axis it was.
    """

    mirrored: Sequence[bool]
    order: Sequence[int]

    def raw(self, values: torch.Tensor) -> torch.Tensor:
        """Mirror and transpose."""
        return self.labels(values)

    def labels(self, values: torch.Tensor) -> torch.Tensor:
        """Mirror and transpose."""
        leading = values.ndim - len(self.order)
        axes = [leading + axis for axis, mirror in enumerate(self.mirrored) if mirror]
        return values.flip(axes).permute(*range(leading), *(leading + axis for axis in self.order))


def draw_flip(
    wanted: SampleRois,
    rng: np.random.Generator,
    mirror_only: Sequence[int] | None,
    transpose_only: Sequence[int] | None,
    mirror_probs: Sequence[float] | None,
) -> Flip:
    """Draw how to mirror and transpose; only axes along which voxels have the same size are transposed.

    Raises:
        ConfigError: If there are not as many probabilities as axes.
    """
    dims = wanted.dims
    probabilities = [0.5] * dims if mirror_probs is None else list(mirror_probs)
    if len(probabilities) != dims:
        raise ConfigError(f"mirror_probs is {probabilities}, but the samples have {dims} spatial axes; give one each")
    mirrored = [
        bool(rng.random() < probabilities[axis]) and (mirror_only is None or axis in mirror_only)
        for axis in range(dims)
    ]
    axes = _transposable(wanted, transpose_only)
    order = list(range(dims))
    for axis, source in zip(axes, rng.permutation(axes).tolist(), strict=True):
        order[axis] = source
    return Flip(_before_flip(wanted, mirrored, order), mirrored, order)


def _transposable(wanted: SampleRois, transpose_only: Sequence[int] | None) -> list[int]:
    """Return the chosen axes, all by default, of the most common voxel size."""
    sizes = list(zip(wanted.raw_voxel_size, wanted.label_voxel_size, strict=True))
    most_common = Counter(sizes).most_common(1)[0][0]
    chosen = range(wanted.dims) if transpose_only is None else transpose_only
    return [axis for axis in chosen if axis < wanted.dims and sizes[axis] == most_common]


def _before_flip(wanted: SampleRois, mirrored: Sequence[bool], order: Sequence[int]) -> SampleRois:
    """Return where the values of a sample lie before they are mirrored and then transposed, as a whole."""
    back = [order.index(axis) for axis in range(wanted.dims)]
    total = wanted.total
    centre = total.center - Coordinate(c % s for c, s in zip(total.center, wanted.step, strict=True))

    def transposed(roi: Roi) -> Roi:
        to_centre = centre - roi.offset
        return Roi(centre - Coordinate(to_centre[a] for a in back), Coordinate(roi.shape[a] for a in back))

    rois = _each_roi(wanted, transposed)
    whole = rois.total

    def mirror(roi: Roi) -> Roi:
        opposite = whole.begin + whole.end - roi.end
        offset = (o if m else b for m, o, b in zip(mirrored, opposite, roi.begin, strict=True))
        return Roi(Coordinate(offset), roi.shape)

    return _each_roi(rois, mirror)


def _each_roi(rois: SampleRois, change: Callable[[Roi], Roi]) -> SampleRois:
    return attrs.evolve(rois, raw=change(rois.raw), labels=change(rois.labels), mask=change(rois.mask))


# Rotation and deformation


class Deformation(Change):
    """Rotated and smoothly deformed samples.

    Every voxel is read from the place that a rotation around the centre of the sample and the displacement at its own
    place lead to. Displacements are those of the points of a coarse grid, and between them cubic convolution (Keys
    1981), which passes through the values at the grid points. Raw values are interpolated linearly; labels are those of
    the nearest voxel.
    """

    def __init__(
        self,
        wanted: SampleRois,
        rotation: npt.NDArray[np.float64],
        displacements: npt.NDArray[np.float64],
        spacing: npt.NDArray[np.float64],
        subsample: int,
    ) -> None:
        """Find out which values are needed.

        Args:
            wanted: Where the deformed sample lies.
            rotation: Matrix.
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
        self.centre = np.array(total.offset) + np.array(total.shape) / 2
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
        """Leave out what is quicker to compute again than to send."""
        return {**self.__dict__, "_sources": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the attributes up."""
        self.__dict__.update(state)

    def raw(self, values: torch.Tensor) -> torch.Tensor:
        """Read raw values from where the deformation says."""
        begin = (self.needed.raw.offset - self.wanted.raw.offset) / self.wanted.raw_voxel_size
        return interpolate_linearly(values, self._source_voxels(values.device)[0], begin)

    def labels(self, values: torch.Tensor) -> torch.Tensor:
        """Read labels from where the deformation says."""
        begin = (self.needed.labels.offset - self.wanted.labels.offset) / self.wanted.label_voxel_size
        return take_nearest(values, self._source_voxels(values.device)[1], begin)

    def mask(self, values: torch.Tensor) -> torch.Tensor:
        """Read a mask from where the deformation says."""
        begin = (self.needed.mask.offset - self.wanted.labels.offset) / self.wanted.label_voxel_size
        return take_nearest(values, self._of_mask(self._source_voxels(values.device)[1]), begin)

    def _of_mask(self, labels: torch.Tensor) -> torch.Tensor:
        """Cut the positions of the mask out of those of labels; they still count from the first voxel of labels."""
        place = (self.wanted.mask - self.wanted.labels.offset) / self.wanted.label_voxel_size
        return labels[(slice(None), *place.to_slices())]

    def _box_of_nearest(self, positions: torch.Tensor) -> Roi:
        return _box(positions, nearest_voxels, nearest_voxels, self.wanted.labels, self.wanted.label_voxel_size)

    def _source_voxels(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where the voxels of raw data and of labels are read from, each in voxels of its own region."""
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
        """Cut the positions of a region out of those of the whole sample."""
        if roi == self.wanted.total:
            return whole
        place = (roi - self.wanted.total.offset) / self.wanted.raw_voxel_size
        begin = torch.tensor(place.offset, dtype=whole.dtype, device=whole.device)
        return whole[(slice(None), *place.to_slices())] - begin.reshape(-1, *(1,) * place.dims)

    def source_voxels(self, roi: Roi, voxel_size: Coordinate, device: torch.device) -> torch.Tensor:
        """Return where every voxel of a region is read from.

        Args:
            roi: The region, world units.
            voxel_size: World units.
            device: Where to compute.

        Returns:
            Positions in voxels, 0 being the centre of the first voxel of ``roi``; shape (dims, *shape of the region).
        """
        size = np.array(voxel_size, dtype=float)
        shape = [int(n) for n in roi.shape / voxel_size]
        dims = len(shape)
        middle = (self.centre - np.array(roi.offset)) / size - 0.5
        matrix = self.rotation * size[None, :] / size[:, None]  # rotation acts on world units, positions count voxels
        steps = [np.arange(n) - m for n, m in zip(shape, middle, strict=True)]
        weights = [self._weights(axis, roi, size[axis], n) for axis, n in enumerate(shape)]

        # On a GPU, products of single precision may be set to be inexact.
        dtype = torch.float32 if device.type == "cpu" else torch.float64

        def tensor(values: npt.NDArray[Any]) -> torch.Tensor:
            return torch.tensor(np.ascontiguousarray(values), dtype=dtype, device=device)

        terms = tensor(self.displacements / size.reshape(-1, *(1,) * dims)) @ tensor(weights[-1]).T
        if dims == 3:
            terms = tensor(weights[1]) @ terms
        # The rotation of all axes but the first, and what the first adds to it, are two more terms of the last product.
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
) -> Deformation:
    """Draw a rotation, and the displacements of the grid points.

    Args:
        wanted: Where the deformed sample lies.
        rng: Where all that is random comes from.
        spacing: Distance of the grid points along each axis, world units.
        sigma: Standard deviation of their displacement along each axis, world units.
        rotation_interval: Smallest and largest angle, radians, in the plane of the last two axes.
        subsample: Evaluate displacements at every so many voxels only, and linearly in between.
        uniform_3d_rotation: Rotate three-dimensional samples into any direction instead.

    Raises:
        ConfigError: If there are not as many spacings as axes.
    """
    dims = wanted.dims
    if len(spacing) != dims:
        raise ConfigError(
            f"elastic augmentation has {len(spacing)} control point spacings, but the samples have {dims} spatial "
            "axes; give one per axis"
        )
    steps = np.array(spacing, dtype=float)
    # The last of the voxels that displacements are evaluated at can lie this far outside.
    extent = np.array(wanted.total.shape) + subsample * np.maximum(wanted.raw_voxel_size, wanted.label_voxel_size)
    points = np.ceil(extent / steps).astype(int) + 4
    displacements = rng.standard_normal((dims, *points)) * np.array(sigma, dtype=float).reshape(-1, *(1,) * dims)
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
    """Return values along one of several axes, to be broadcast along the others."""
    return values.reshape([-1 if a == axis else 1 for a in range(dims)])


def _box(
    positions: torch.Tensor,
    lower: Callable[[torch.Tensor], torch.Tensor],
    upper: Callable[[torch.Tensor], torch.Tensor],
    roi: Roi,
    voxel_size: Coordinate,
) -> Roi:
    """Return the smallest region that holds all voxels that are read for some positions.

    Args:
        positions: In voxels from the first one of ``roi``, shape (dims, *shape).
        lower: Gives the number of the first voxel that is read for a position; it never falls as positions rise.
        upper: Gives that of the last one, likewise.
        roi: World units.
        voxel_size: World units.
    """
    values = positions.numpy()  # which finds extremes in a fraction of the time
    first = lower(torch.from_numpy(np.array([along.min() for along in values])))
    last = upper(torch.from_numpy(np.array([along.max() for along in values])))
    begin, end = Coordinate(map(int, first)), Coordinate(int(number) + 1 for number in last)
    return Roi(roi.offset + begin * voxel_size, (end - begin) * voxel_size)


def interpolate_linearly(
    values: torch.Tensor, positions: torch.Tensor, begin: Sequence[int] | None = None
) -> torch.Tensor:
    """Return linearly interpolated values; what lies outside has the value at the border.

    Args:
        values: Shape (channels, *space), float32, in two or three dimensions.
        positions: Where to read, in voxels, shape (dims, *shape).
        begin: The position of the first voxel of ``values``; 0 by default.

    Returns:
        Shape (channels, *shape).
    """
    offset = _column(begin, positions)
    if values.device.type != "cpu":
        return _sample_grid(values, positions - offset)
    rows = max(1, CHUNK // max(1, math.prod(positions.shape[2:])))
    flat = values.flatten(start_dim=1)
    parts = [
        _interpolate(flat, values.shape[1:], positions[:, row : row + rows] - offset)
        for row in range(0, positions.shape[1], rows)
    ]
    return torch.cat(parts, dim=1)


def _interpolate(flat: torch.Tensor, shape: Sequence[int], positions: torch.Tensor) -> torch.Tensor:
    """Weigh the corners of the voxel around each position, axis by axis."""
    corner: torch.Tensor | None = None
    strides: list[int] = []
    fractions: list[torch.Tensor] = []
    for along, size in zip(positions, shape, strict=True):
        along = along.clamp_(0, size - 1)
        lower = along.floor().clamp_(max=max(size - 2, 0))
        fractions.append(along.sub_(lower).reshape(-1))
        index = lower.to(torch.int32 if flat.shape[1] < 2**31 else torch.int64).reshape(-1)
        corner = index if corner is None else corner.mul_(size).add_(index)
        strides = [s * size for s in strides] + [1]
    assert corner is not None
    strides = [stride if size > 1 else 0 for stride, size in zip(strides, shape, strict=True)]

    def between(channel: torch.Tensor, offset: int, axis: int) -> torch.Tensor:
        if axis == len(strides):
            return channel.index_select(0, corner + offset if offset else corner)
        near, far = (between(channel, offset + step, axis + 1) for step in (0, strides[axis]))
        return near.lerp_(far, fractions[axis])

    return torch.stack([between(channel, 0, 0) for channel in flat]).reshape(-1, *positions.shape[1:])


def _sample_grid(values: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Do the same with the operation of torch, which is fast on GPUs."""
    sizes = torch.tensor([max(n - 1, 1) for n in values.shape[1:]], dtype=positions.dtype, device=positions.device)
    scaled = positions * (2 / sizes).reshape(-1, *(1,) * (positions.ndim - 1)) - 1
    grid = scaled.flip(0).movedim(0, -1)  # torch counts axes from the last
    sampled = torch.nn.functional.grid_sample(
        values[None], grid[None], mode="bilinear", padding_mode="border", align_corners=True
    )
    return sampled[0]


def take_nearest(values: torch.Tensor, positions: torch.Tensor, begin: Sequence[int] | None = None) -> torch.Tensor:
    """Return the values of the nearest voxels, unchanged.

    Args:
        values: The last axes are space.
        positions: Where to read, in voxels, shape (dims, *shape).
        begin: The position of the first voxel of ``values``; 0 by default.

    Returns:
        The leading axes of ``values``, then those of ``shape``.
    """
    dims = len(positions)
    shape = values.shape[values.ndim - dims :]
    index: torch.Tensor | None = None
    for along, size, first in zip(positions, shape, begin or (0,) * dims, strict=True):
        nearest = nearest_voxels(along).sub_(first).clamp_(0, size - 1)
        whole = nearest.to(torch.int32 if math.prod(shape) < 2**31 else torch.int64)
        index = whole if index is None else index.mul_(size).add_(whole)
    assert index is not None
    flat = values.reshape(*values.shape[: values.ndim - dims], -1)
    return flat.index_select(-1, index.reshape(-1)).reshape(*flat.shape[:-1], *positions.shape[1:])


def nearest_voxels(positions: torch.Tensor) -> torch.Tensor:
    """Return the numbers of the voxels that positions lie in, as floating point numbers."""
    return (positions + 0.5).floor_()


def _column(begin: Sequence[int] | None, positions: torch.Tensor) -> torch.Tensor:
    """Return a position as a tensor to subtract from many."""
    first = torch.tensor(begin or (0,) * len(positions), dtype=positions.dtype, device=positions.device)
    return first.reshape(-1, *(1,) * (positions.ndim - 1))
