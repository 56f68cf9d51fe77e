"""Affinities between voxels of a label volume."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate

from dacapo.errors import DimensionsError, DtypeError


def seg_to_affgraph(
    seg: npt.NDArray[Any],
    neighborhood: Iterable[Sequence[int]],
    dtype: npt.DTypeLike = np.int32,
) -> npt.NDArray[Any]:
    """Compute for every voxel and offset whether the voxel and its partner belong to the same object.

    Args:
        seg: Labels, 2D or 3D, of an integer type or bool. 0 is background, which belongs to no object.
        neighborhood: Offsets in voxels from a voxel to its partner.
        dtype: Data type of the result.

    Returns:
        Array of shape (offsets, *seg.shape): 1 where the voxel and its partner carry the same label above 0, else 0,
        also where the partner lies outside.

    Raises:
        DtypeError: If the labels are neither integers nor bool.
        DimensionsError: If an offset has another number of dimensions than the labels, or these are not 2 or 3.

    >>> seg_to_affgraph(np.array([[1, 1, 2]]), [(0, 1), (0, -1)]).tolist()
    [[[1, 0, 0]], [[0, 1, 0]]]
    """
    offsets = [tuple(int(o) for o in offset) for offset in neighborhood]
    _check(seg, offsets)
    affinities = np.zeros((len(offsets), *seg.shape), dtype=dtype)
    foreground = seg > 0
    for channel, offset in zip(affinities, offsets, strict=True):
        if any(abs(o) >= size for o, size in zip(offset, seg.shape, strict=True)):
            continue  # no voxel has a partner inside
        here = tuple(slice(max(0, -o), size - max(0, o)) for o, size in zip(offset, seg.shape, strict=True))
        there = tuple(slice(max(0, o), size - max(0, -o)) for o, size in zip(offset, seg.shape, strict=True))
        channel[here] = (seg[here] == seg[there]) & foreground[here]
    return affinities


def known_affinities(
    annotated: npt.NDArray[Any], neighborhood: Iterable[Sequence[int]], boundary_iterations: int = 0
) -> npt.NDArray[np.bool_]:
    """Tell where affinities are known: where both a voxel and its partner are annotated.

    Args:
        annotated: Not 0 where annotated. Spatial axes, led by one channel per offset or a single one. What lies
            outside of the array is not annotated.
        neighborhood: Offsets in voxels from a voxel to its partner.
        boundary_iterations: By how many voxels objects are shrunk before affinities are computed. A boundary may lie
            in front of everything that is not annotated, so as many voxels beside it are not known.

    Returns:
        Array of shape (offsets, *space).
    """
    offsets = [tuple(int(o) for o in offset) for offset in neighborhood]
    channels = annotated[np.newaxis] if annotated.ndim == len(offsets[0]) else annotated
    inside = [grow_boundaries((channel != 0).astype(np.uint8), boundary_iterations) for channel in channels]
    if len(inside) == 1:
        return seg_to_affgraph(inside[0], offsets, dtype=bool)
    return np.stack([seg_to_affgraph(part, [o], dtype=bool)[0] for part, o in zip(inside, offsets, strict=True)])


def _check(seg: npt.NDArray[Any], offsets: list[tuple[int, ...]]) -> None:
    if seg.dtype.kind not in "biu":
        raise DtypeError(
            f"affinities need labels of an integer type or bool, not {seg.dtype}; convert the ground truth"
        )
    dims = {len(offset) for offset in offsets} | {seg.ndim}
    if dims != {seg.ndim} or seg.ndim not in (2, 3):
        raise DimensionsError(
            f"affinities need labels and offsets that are all 2D or all 3D; "
            f"the labels have {seg.ndim} dimensions, the offsets are {offsets}"
        )


def padding(neighborhood: Iterable[Sequence[int]], voxel_size: Coordinate) -> tuple[Coordinate, Coordinate]:
    """Return how far the partners of a voxel reach, in world units.

    Args:
        neighborhood: Offsets in voxels.
        voxel_size: World units.

    Returns:
        The largest reach towards the start, which is zero or negative, and towards the end, zero or positive.
    """
    offsets = [tuple(offset) for offset in neighborhood]
    axes = range(len(voxel_size))
    negative = Coordinate(min(0, *(offset[axis] for offset in offsets)) for axis in axes)
    positive = Coordinate(max(0, *(offset[axis] for offset in offsets)) for axis in axes)
    return negative * voxel_size, positive * voxel_size


def grow_boundaries(labels: npt.NDArray[Any], iterations: int) -> npt.NDArray[Any]:
    """Shrink all objects, so that the background between them becomes wider.

    In each iteration every voxel that shares a face with another label, or with background, becomes background. The
    border of the array is no boundary.

    Args:
        labels: Spatial array.
        iterations: By how many voxels to shrink.
    """
    grown = labels
    for _ in range(iterations):
        boundary = np.zeros(grown.shape, dtype=bool)
        for axis in range(grown.ndim):
            values, marks = np.moveaxis(grown, axis, 0), np.moveaxis(boundary, axis, 0)
            changes = values[1:] != values[:-1]
            marks[1:] |= changes
            marks[:-1] |= changes
        grown = np.where(boundary, np.zeros((), dtype=grown.dtype), grown)
    return grown
