"""Affinities between voxels of a label volume."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate

from dacapo.errors import DimensionsError, DtypeError

Box = Sequence[slice]
"""Part of an array: one slice for each axis."""

Slices = tuple[slice, ...]


def seg_to_affgraph(
    seg: npt.NDArray[Any],
    neighborhood: Iterable[Sequence[int]],
    dtype: npt.DTypeLike = np.int32,
    region: Box | None = None,
) -> npt.NDArray[Any]:
    """Compute for every voxel and offset whether the voxel and its partner belong to the same object.

    Args:
        seg: Labels, 2D or 3D, of an integer type or bool. 0 is background, which belongs to no object.
        neighborhood: Offsets in voxels from a voxel to its partner.
        dtype: Data type of the result.
        region: Return the affinities of the voxels in this part only; their partners may lie around it. All by default.

    Returns:
        Array of shape (offsets, *shape of the region): 1 where the voxel and its partner carry the same label above 0,
        else 0, also where the partner lies outside.

    Raises:
        DtypeError: If the labels are neither integers nor bool.
        DimensionsError: If an offset has another number of dimensions than the labels, or these are not 2 or 3.

    >>> seg_to_affgraph(np.array([[1, 1, 2]]), [(0, 1), (0, -1)]).tolist()
    [[[1, 0, 0]], [[0, 1, 0]]]
    """
    offsets = [tuple(int(o) for o in offset) for offset in neighborhood]
    _check(seg, offsets)
    region = region or tuple(slice(0, size) for size in seg.shape)
    foreground = seg[tuple(region)] > 0
    affinities = np.zeros((len(offsets), *foreground.shape), dtype=dtype)
    for channel, offset in zip(affinities, offsets, strict=True):
        pair = pair_slices(region, seg.shape, offset)
        if pair is not None:
            place, here, there = pair
            channel[place] = (seg[here] == seg[there]) & foreground[place]
    return affinities


def pair_slices(region: Box, shape: Sequence[int], offset: Sequence[int]) -> tuple[Slices, Slices, Slices] | None:
    """Return where the voxels of a region with a partner inside the array lie, and where their partners lie.

    Args:
        region: Part of the array.
        shape: Shape of the array.
        offset: From a voxel to its partner, in voxels.

    Returns:
        Indices of the voxels in the region, of the same voxels in the array, and of their partners in the array; None
        if no voxel has a partner inside.
    """
    here = [slice(max(r.start, -o), min(r.stop, n - o)) for r, o, n in zip(region, offset, shape, strict=True)]
    if any(side.start >= side.stop for side in here):
        return None
    place, there = (
        tuple(slice(side.start + step, side.stop + step) for side, step in zip(here, steps, strict=True))
        for steps in ([-r.start for r in region], offset)
    )
    return place, tuple(here), there


def affinities_of_shrunk(
    labels: npt.NDArray[Any],
    neighborhood: Sequence[Sequence[int]],
    boundary_iterations: int,
    dtype: npt.DTypeLike,
    region: Box | None = None,
) -> npt.NDArray[Any]:
    """Compute affinities after growing boundaries; see :func:`grow_boundaries` and :func:`seg_to_affgraph`."""
    if boundary_iterations and region is not None:  # only what matters is worth growing
        box = _reach(region, labels.shape, neighborhood, boundary_iterations)
        region = [slice(r.start - b.start, r.stop - b.start) for r, b in zip(region, box, strict=True)]
        labels = labels[box]
    return seg_to_affgraph(grow_boundaries(labels, boundary_iterations), neighborhood, dtype, region)


def _reach(region: Box, shape: Sequence[int], neighborhood: Sequence[Sequence[int]], iterations: int) -> Slices:
    """Return the box around a region that holds all partners, and the boundaries that can reach them."""
    before, after = padding(neighborhood, Coordinate((1,) * len(shape)))
    return tuple(
        slice(max(0, side.start + int(b) - iterations), min(size, side.stop + int(a) + iterations))
        for side, b, a, size in zip(region, before, after, shape, strict=True)
    )


def known_affinities(
    annotated: npt.NDArray[Any],
    neighborhood: Iterable[Sequence[int]],
    boundary_iterations: int = 0,
    region: Box | None = None,
) -> npt.NDArray[np.bool_]:
    """Return where affinities are known: where both a voxel and its partner are annotated.

    Args:
        annotated: Not 0 where annotated. Spatial axes, preceded by one channel per offset or a single one.
            Voxels outside of the array are not annotated.
        neighborhood: Offsets in voxels from a voxel to its partner.
        boundary_iterations: By how many voxels objects are shrunk before affinities are computed. A boundary may lie
            beside anything that is not annotated, so as many voxels there are not known.
        region: Look at the voxels in this part only; all by default.

    Returns:
        Array of shape (offsets, *shape of the region).
    """
    offsets = [tuple(int(o) for o in offset) for offset in neighborhood]
    channels = annotated[np.newaxis] if annotated.ndim == len(offsets[0]) else annotated
    groups = [offsets] if len(channels) == 1 else [[offset] for offset in offsets]
    known = [
        affinities_of_shrunk(channel != 0, group, boundary_iterations, bool, region)
        for channel, group in zip(channels, groups, strict=True)
    ]
    return known[0] if len(known) == 1 else np.concatenate(known)


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


def with_background(labels: npt.NDArray[Any], annotated: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[Any]:
    """Return labels in which background is one more object: each label plus 1, in a wider type if needed.

    64 bits have no wider type; their largest number becomes another one that no label has.

    Args:
        labels: Labels.
        annotated: Where background is known to be background; elsewhere it stays 0, which is no object. All by default.
    """
    objects = _background_as_object(labels)
    if annotated is not None:
        objects[(labels == 0) & ~annotated] = 0
    return objects


def _background_as_object(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    kind, size = labels.dtype.kind, labels.dtype.itemsize
    if kind == "b":
        return _background_as_object(labels.astype(np.uint8))
    largest = np.iinfo(labels.dtype).max
    overflows = labels.max(initial=0) == largest
    if overflows and size < 8:
        return _background_as_object(labels.astype(f"{kind}{2 * size}"))
    objects: npt.NDArray[Any] = labels + labels.dtype.type(1)
    if overflows:
        free = largest
        while (objects == free).any():
            free -= 1
        objects[labels == largest] = free
    return objects
