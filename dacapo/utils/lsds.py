"""Local shape descriptors (Sheridan et al., Nature Methods 2023).

A descriptor describes the part of an object around a voxel, weighted by a Gaussian: the offset to the center of mass,
variances and correlations of the coordinates, and the size. All values lie between 0 and 1.

All of them follow from ten moments of each object (six in 2D): sums over its voxels of the Gaussian, times products
of up to two coordinates relative to the voxel described. Such a sum is a matrix product along one axis after the
other, and it needs no more than the box around the object.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from dacapo.errors import DimensionsError, DtypeError
from dacapo.utils.byte_order import native

if TYPE_CHECKING:
    from funlib.geometry import Roi

    from dacapo.utils.symmetries import Symmetry

# The Gaussian is cut off at this many sigmas.
TRUNCATE = 3

# Square world units; thinner objects count as this thick, so that correlations do not divide by 0.
LEAST_VARIANCE = 1e-3

# Longest edge, in voxels, of a part computed at once, unless the Gaussian is wider; and its largest size in voxels.
_TILE = 64
_BATCH = 1 << 16

Floats: TypeAlias = npt.NDArray[np.float32]
Box: TypeAlias = tuple[slice, ...]


def num_descriptors(dims: int) -> int:
    """Return the number of descriptor channels in 2D or 3D."""
    if dims not in (2, 3):
        raise DimensionsError(f"shape descriptors exist in 2 and 3 dimensions, not in {dims}")
    return 6 if dims == 2 else 10


def descriptor_names(dims: int) -> list[str]:
    """Return a name for each descriptor channel, in channel order; axes are numbered."""
    num_descriptors(dims)
    axes = range(dims)
    return [
        *(f"lsd_offset_{a}" for a in axes),
        *(f"lsd_variance_{a}" for a in axes),
        *(f"lsd_correlation_{a}{b}" for a, b in itertools.combinations(axes, 2)),
        "lsd_size",
    ]


def turned_descriptors(symmetry: Symmetry) -> list[int | None]:
    """Return for each descriptor which one it is in a mirrored or turned volume; None if its direction is reversed."""
    dims = len(symmetry.axes)
    axes = [symmetry.result_axis(axis) for axis in range(dims)]
    pairs = list(itertools.combinations(range(dims), 2))
    turned: list[int | None] = [None if symmetry.is_mirrored(axis) else axes[axis] for axis in range(dims)]
    turned += [dims + axis for axis in axes]
    for one, other in pairs:
        reverses = symmetry.is_mirrored(one) != symmetry.is_mirrored(other)
        low, high = sorted((axes[one], axes[other]))
        turned.append(None if reverses else 2 * dims + pairs.index((low, high)))
    return [*turned, 2 * dims + len(pairs)]


def local_shape_descriptors(
    labels: npt.NDArray[Any],
    sigma: Sequence[float],
    voxel_size: Sequence[float],
    downsample: int = 1,
    region: Box | None = None,
) -> Floats:
    """Compute the descriptors of all labels other than 0.

    Args:
        labels: Spatial array, 2D or 3D, of an integer type or bool.
        sigma: Standard deviation of the Gaussian along each axis, world units.
        voxel_size: World units.
        downsample: Compute on every n-th voxel only, which is faster; the others get the descriptor of the one before
            them. If none of these voxels nearby belongs to the object, offset and correlation count as 0.
        region: The part to describe, one slice per axis; objects continue around it. All by default.

    Returns:
        Array of shape (channels, *shape of the region), 0 on background: offsets, variances, correlations, size.

    Raises:
        DtypeError: If the labels are neither integers nor bool.
        DimensionsError: If the labels are neither 2D nor 3D.
    """
    import fastremap
    from scipy.ndimage import find_objects

    if labels.dtype.kind not in "biu":
        raise DtypeError(f"shape descriptors need labels of an integer type or bool, not {labels.dtype}")
    channels = num_descriptors(labels.ndim)
    padded = np.pad(labels, [(0, -size % downsample) for size in labels.shape])
    # bool has no numbers to renumber, and find_objects cannot handle 64 bit ids.
    compact, _ = fastremap.renumber(padded.view(np.uint8) if padded.dtype == bool else native(padded), in_place=True)
    compact = compact.astype(np.int32, copy=False)
    picked = compact[(slice(None, None, downsample),) * labels.ndim]
    gaussians = [_Gaussian(s, v * downsample) for s, v in zip(sigma, voxel_size, strict=True)]
    result = np.zeros((channels, *padded.shape), dtype=np.float32)
    region = region or tuple(slice(0, size) for size in labels.shape)
    wanted = tuple(_picked(side, downsample) for side in region)
    tiles = [
        tile
        for label, box in enumerate(find_objects(compact), start=1)
        for tile in _tiles(label, box, wanted, downsample, gaussians)
    ]
    for batch in _batches(tiles):
        places = [_scaled(tile.inside, downsample) for tile in batch]
        inside = np.stack([compact[place] == tile.label for place, tile in zip(places, batch, strict=True)])
        if not inside.any():
            continue
        objects = np.stack([picked[tile.window] == tile.label for tile in batch]).astype(np.float32)
        weights = [g.moments(t, w) for g, t, w in zip(gaussians, batch[0].inside, batch[0].window, strict=True)]
        values = _descriptors(_gathered(_moments(objects, weights), inside, downsample), sigma)
        ends = np.cumsum(np.count_nonzero(inside, axis=tuple(range(1, inside.ndim))))
        for place, mask, part in zip(places, inside, np.split(values, ends[:-1], axis=1), strict=True):
            result[(slice(None), *place)][:, mask] = part
    return result[(slice(None), *region)]


def _scaled(box: Box, factor: int) -> Box:
    return tuple(slice(side.start * factor, side.stop * factor) for side in box)


class LsdExtractor:
    """Compute descriptors with fixed settings; has the interface of the class of this name in the package ``lsds``.

    Args:
        sigma: Standard deviation of the Gaussian along each axis, world units.
        downsample: Compute on every n-th voxel only.
    """

    def __init__(self, sigma: Sequence[float], downsample: int = 1) -> None:
        self.sigma = tuple(sigma)
        self.downsample = downsample

    def get_descriptors(
        self,
        segmentation: npt.NDArray[Any],
        components: str | None = None,
        voxel_size: Sequence[float] | None = None,
        roi: Roi | None = None,
        labels: Sequence[int] | None = None,
    ) -> Floats:
        """Compute the descriptors of a volume.

        Args:
            segmentation: Labels, 2D or 3D, of an integer type or bool.
            components: Digits of the channels to return, such as "0129"; all by default.
            voxel_size: World units, 1 by default.
            roi: In voxels; the part to return. Descriptors depend on its surroundings, too.
            labels: The labels to describe; others count as background. All by default.
        """
        if labels is not None:
            segmentation = np.where(np.isin(segmentation, labels), segmentation, segmentation.dtype.type(0))
        size = (1,) * segmentation.ndim if voxel_size is None else voxel_size
        result = local_shape_descriptors(segmentation, self.sigma, size, self.downsample)
        if components is not None:
            result = result[[int(component) for component in components]]
        return result if roi is None else result[(slice(None), *roi.to_slices())]

    def get_context(self) -> tuple[float, ...]:
        """Return the reach of a descriptor along each axis, world units."""
        return tuple(TRUNCATE * s for s in self.sigma)


class _Gaussian:
    """A Gaussian along one axis, normalized over the voxels on which it is not cut off.

    Args:
        sigma: Its standard deviation, world units.
        step: Distance from voxel to voxel, world units.
    """

    def __init__(self, sigma: float, step: float) -> None:
        self.radius = int(TRUNCATE * sigma / step + 0.5)
        distance = np.arange(-self.radius, self.radius + 1) * step
        weight = np.exp(-0.5 * (distance / sigma) ** 2)
        weight /= weight.sum()
        self._moments = np.stack([weight * distance**power for power in range(3)])
        self._matrices: dict[tuple[int, int, int], Floats] = {}

    def moments(self, to: slice, source: slice) -> Floats:
        """Return the weight of each voxel of ``source`` in the sum for each voxel of ``to``.

        Returns:
            Three matrices, shape (power, to, source): the Gaussian times the distance to the power of 0, 1 and 2.
        """
        key = (to.start - source.start, to.stop - source.start, source.stop - source.start)
        if key not in self._matrices:
            begin, end, size = key
            distance = np.arange(size)[np.newaxis] - np.arange(begin, end)[:, np.newaxis]
            inside = np.abs(distance) <= self.radius
            index = np.where(inside, distance + self.radius, 0)
            self._matrices[key] = np.where(inside, self._moments[:, index], 0).astype(np.float32)
        return self._matrices[key]


class _Tile(NamedTuple):
    """A part of the box around a label; boxes are those of picked voxels.

    Attributes:
        label: The label.
        inside: The part.
        window: The reach of the Gaussian from there, within the box around the label.
    """

    label: int
    inside: Box
    window: Box

    @property
    def form(self) -> tuple[tuple[int, int, int], ...]:
        """The properties that tiles computed together have in common."""
        return tuple(
            (part.start - reach.start, part.stop - reach.start, reach.stop - reach.start)
            for part, reach in zip(self.inside, self.window, strict=True)
        )


def _picked(side: slice, downsample: int) -> slice:
    """Return which of the picked voxels stand for a range of voxels."""
    return slice(side.start // downsample, -(-side.stop // downsample))


def _tiles(label: int, box: Box, wanted: Box, downsample: int, gaussians: Sequence[_Gaussian]) -> Iterator[_Tile]:
    """Cut the wanted part of the box around a label into parts that are small enough."""
    sides = [_picked(side, downsample) for side in box]
    inner = [
        slice(max(side.start, want.start), min(side.stop, want.stop)) for side, want in zip(sides, wanted, strict=True)
    ]
    if any(side.start >= side.stop for side in inner):
        return
    cuts = [list(_cut(side, max(_TILE, 2 * g.radius))) for side, g in zip(inner, gaussians, strict=True)]
    for inside in itertools.product(*cuts):
        window = tuple(
            slice(max(side.start, part.start - g.radius), min(side.stop, part.stop + g.radius))
            for part, side, g in zip(inside, sides, gaussians, strict=True)
        )
        yield _Tile(label, inside, window)


def _cut(side: slice, longest: int) -> Iterator[slice]:
    parts = -(-(side.stop - side.start) // longest)
    edges = [side.start + index * (side.stop - side.start) // parts for index in range(parts + 1)]
    for begin, end in itertools.pairwise(edges):
        yield slice(begin, end)


def _batches(tiles: list[_Tile]) -> Iterator[list[_Tile]]:
    """Group tiles of the same form: for small objects, a call for each would take longer than the work itself."""
    for form, alike in itertools.groupby(sorted(tiles, key=lambda tile: tile.form), key=lambda tile: tile.form):
        size = max(1, _BATCH // math.prod(length for _, _, length in form))
        while batch := list(itertools.islice(alike, size)):
            yield batch


def _moments(objects: Floats, weights: Sequence[Floats]) -> dict[tuple[int, ...], Floats]:
    """Return the moments of total power up to 2 by the powers along each axis; the first axis counts objects."""
    moments: dict[tuple[int, ...], Floats] = {(): objects}
    for axis, matrices in enumerate(weights, start=1):
        moments = {
            (*powers, power): _along(matrices[power], values, axis)
            for powers, values in moments.items()
            for power in range(3 - sum(powers))
        }
    return moments


def _along(matrix: Floats, values: Floats, axis: int) -> Floats:
    """Multiply by a matrix along one axis; in this form it copies no values."""
    before, after = values.shape[:axis], values.shape[axis + 1 :]
    if not after:
        return (values.reshape(-1, values.shape[axis]) @ matrix.T).reshape(*before, -1)
    product: Floats = matrix @ values.reshape(math.prod(before), values.shape[axis], -1)
    return product.reshape(*before, -1, *after)


@functools.cache
def _powers(dims: int) -> list[tuple[int, ...]]:
    """Return the powers of the moments in the order of descriptors, with the mass, which is last there, in front."""
    unit = np.eye(dims, dtype=int)
    mixed = [unit[a] + unit[b] for a, b in itertools.combinations(range(dims), 2)]
    return [tuple(powers.tolist()) for powers in (0 * unit[0], *unit, *(2 * unit), *mixed)]


def _gathered(moments: dict[tuple[int, ...], Floats], described: npt.NDArray[np.bool_], downsample: int) -> Floats:
    """Return the moments of the voxels to describe, shape (moments, voxels)."""
    dims = described.ndim - 1
    voxels = np.flatnonzero(described)
    gathered = np.empty((len(moments), len(voxels)), dtype=np.float32)
    for values, powers in zip(gathered, _powers(dims), strict=True):
        enlarged = moments[powers]
        for axis in range(1, dims + 1) if downsample > 1 else ():
            enlarged = enlarged.repeat(downsample, axis)
        enlarged.reshape(-1).take(voxels, out=values, mode="clip")  # other modes copy the output
    return gathered


def _descriptors(moments: Floats, sigma: Sequence[float]) -> Floats:
    """Return the descriptors that follow from moments, both of shape (channels, voxels)."""
    dims = len(sigma)
    scale = np.array(sigma, dtype=np.float32)[:, np.newaxis]
    mass = moments[0]
    relative = moments[1:] / np.where(mass > 0, mass, 1)
    mean, square, mixed = relative[:dims], relative[dims : 2 * dims], relative[2 * dims :]
    variance = np.maximum(square - mean * mean, np.float32(LEAST_VARIANCE))
    result = np.empty_like(moments)
    result[:dims] = mean / scale * 0.5 + 0.5
    result[dims : 2 * dims] = variance / scale**2
    for values, product, (a, b) in zip(result[2 * dims :], mixed, itertools.combinations(range(dims), 2), strict=False):
        values[:] = (product - mean[a] * mean[b]) / np.sqrt(variance[a] * variance[b]) * 0.5 + 0.5
    result[-1] = mass
    return np.clip(result, 0, 1, out=result)
