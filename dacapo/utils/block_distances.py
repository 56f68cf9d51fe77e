"""Exact distances to the nearest voxel of a set, with only part of the volume in memory.

A block is read with a margin. A distance that does not exceed the distance to the border of the read region cannot be
shortened by voxels beyond that border, so it is final; nearly all distances are. For the others
(:func:`lower_to_boxes`), the boxes outside that contain voxels of the set are read one after another, the nearest
first, until all remaining ones are too far away to matter. Memory therefore depends only on the size of blocks, and
time on the number of voxels far from the set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import edt
import numpy as np
import numpy.typing as npt

from dacapo.utils.tally import Tally

Mask = npt.NDArray[np.bool_]
Box = npt.NDArray[np.int64]
"""First voxel and the one after the last along each axis: shape (2, axes)."""

_POINTS_AT_ONCE = 1 << 20


@attrs.frozen
class Spacing:
    """Size of a voxel as ``steps`` times a ``unit``.

    If the edges are integers, so are squared distances in squared units. Floating point numbers represent those
    exactly, so rounding cannot lift a distance equal to a tolerance above it.

    Attributes:
        unit: The greatest common divisor of the edges in world units, or the smallest edge if they are not integers.
        steps: Edges of a voxel in units.
    """

    unit: float
    steps: tuple[float, ...]

    @classmethod
    def of(cls, voxel_size: Sequence[float]) -> Spacing:
        """Return the spacing for a voxel size in world units."""
        edges = [float(edge) for edge in voxel_size]
        whole = all(edge.is_integer() for edge in edges)
        unit = float(math.gcd(*(int(edge) for edge in edges))) if whole else min(edges)
        return cls(unit, tuple(edge / unit for edge in edges))

    def squared_distances(self, sites: Mask) -> npt.NDArray[np.float32]:
        """Return the squared distance of each voxel to the nearest site, in squared units; needs at least one site."""
        # For a single axis, edt expects a number.
        anisotropy = self.steps if sites.ndim > 1 else self.steps[0]
        # As integers, because edt takes half as long again for bool.
        return np.asarray(edt.edtsq((~sites).view(np.uint8), anisotropy=anisotropy, black_border=False))


@attrs.frozen(eq=False)
class DistanceCounts(Tally):
    """Histogram of distances, independent of how the volume was divided.

    Attributes:
        distances: The distances that occur, ascending, in world units.
        counts: Number of voxels at each distance.
    """

    distances: npt.NDArray[np.float64] = attrs.field(factory=lambda: np.zeros(0))
    counts: npt.NDArray[np.int64] = attrs.field(factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def of(cls, squared: npt.NDArray[np.floating], unit: float) -> DistanceCounts:
        """Count distances that are given as squares in squared units."""
        if not len(squared):
            return cls()
        largest = float(squared.max())
        if largest <= 4 * len(squared) and np.array_equal(np.trunc(squared), squared):
            every = np.bincount(squared.astype(np.int64))
            values = np.flatnonzero(every)
            counts = every[values]
        else:
            values, counts = np.unique(squared, return_counts=True)
        return cls(np.sqrt(values.astype(np.float64)) * unit, counts.astype(np.int64))

    def __add__(self, other: DistanceCounts) -> DistanceCounts:
        distances, index = np.unique(np.concatenate([self.distances, other.distances]), return_inverse=True)
        counts = np.zeros(len(distances), np.int64)
        np.add.at(counts, index, np.concatenate([self.counts, other.counts]))
        return DistanceCounts(distances, counts)

    @property
    def largest(self) -> float:
        """The largest distance, 0 if empty."""
        return float(self.distances[-1]) if len(self.distances) else 0.0

    def sum(self, limit: float = math.inf) -> float:
        """Return the sum of the distances of all voxels, each clipped at ``limit``."""
        return float(np.sum(np.minimum(self.distances, limit) * self.counts))

    def above(self, distance: float) -> int:
        """Return the number of voxels beyond a distance."""
        return int(self.counts[self.distances > distance].sum())

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return both columns."""
        return {"distances": self.distances, "counts": self.counts}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> DistanceCounts:
        """Return the histogram given by its two columns."""
        return cls(arrays["distances"], arrays["counts"])


def bounding_box(mask: Mask) -> Box | None:
    """Return the bounding box of a set of voxels, None if it is empty."""
    bounds = []
    for axis in range(mask.ndim):
        found = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not len(found):
            return None
        bounds.append((found[0], found[-1] + 1))
    return np.array(bounds, dtype=np.int64).T


def lower_to_boxes(
    points: npt.NDArray[np.integer],
    squared: npt.NDArray[np.float64],
    boxes: npt.NDArray[np.int64],
    read: Callable[[Box], Mask],
    steps: Sequence[float],
) -> None:
    """Lower squared distances, in place, to those of the nearest site in some boxes.

    Args:
        points: Voxels, one per row.
        squared: Squared distance of each to the nearest known site, infinite if none is known; in squared units.
        boxes: Boxes that contain the other sites, of shape (boxes, 2, axes). Each box is separated from all points
            along some axis, as blocks of a grid are.
        read: Returns the mask of the sites in a box.
        steps: Edges of a voxel in units.
    """
    around = np.stack([points.min(axis=0), points.max(axis=0) + 1])
    gaps = _gap(boxes, around, steps)
    for index in np.argsort(gaps, kind="stable"):
        if gaps[index] >= squared.max():
            break
        box = boxes[index]
        near = [part for part in _parts(len(points)) if np.any(_gap(box, points[part], steps) < squared[part])]
        if not near:
            continue
        sites = _facing(read(box), box, around) + box[0]
        for part in near:
            _lower_to_sites(points[part], squared[part], sites, box, steps)


def _lower_to_sites(
    points: npt.NDArray[np.integer],
    squared: npt.NDArray[np.float64],
    sites: npt.NDArray[np.int64],
    box: Box,
    steps: Sequence[float],
) -> None:
    from scipy.spatial import cKDTree

    near = np.flatnonzero(_gap(box, points, steps) < squared)
    chosen = points[near]
    _, nearest = cKDTree(sites * np.asarray(steps)).query(chosen * np.asarray(steps))
    # Recompute from integers, since the tree returns square roots.
    exact = np.sum(((chosen - sites[nearest]) * np.asarray(steps)) ** 2, axis=1)
    squared[near] = np.minimum(squared[near], exact)


def _facing(mask: Mask, box: Box, around: Box) -> npt.NDArray[np.int64]:
    """Return the voxels of a box that can be nearest to a point of another box beside it.

    Along an axis that separates the boxes, only the first voxel of each row can be.
    """
    before, after = box[1] <= around[0], box[0] >= around[1]
    axis = int(np.argmax(before | after))
    facing = np.zeros_like(mask)
    rows, firsts = (np.moveaxis(values, axis, -1) for values in (mask, facing))
    if before[axis]:
        rows, firsts = rows[..., ::-1], firsts[..., ::-1]
    np.put_along_axis(firsts, rows.argmax(axis=-1, keepdims=True), rows.any(axis=-1, keepdims=True), axis=-1)
    return np.argwhere(facing)


def _gap(boxes: npt.NDArray[np.integer], others: npt.NDArray[np.integer], steps: Sequence[float]) -> Any:
    """Return the squared distance between the nearest voxels of boxes, or of a box and points, in squared units."""
    lower, upper = boxes[..., 0, :], boxes[..., 1, :] - 1
    # Either one box, or points that are their own first and last voxel.
    first, last = (others[0], others[1] - 1) if boxes.ndim > others.ndim else (others, others)
    gap = np.maximum(np.maximum(lower - last, first - upper), 0)
    return np.sum((gap * np.asarray(steps)) ** 2, axis=-1)


def _parts(length: int) -> Iterator[slice]:
    for begin in range(0, length, _POINTS_AT_ONCE):
        yield slice(begin, begin + _POINTS_AT_ONCE)
