"""Segmentations and affinities to compare, and plans of segmentations."""

from __future__ import annotations

import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.segmentation.plan import SegmentationPlan
from dacapo.store.array_store import LocalArrayIdentifier


def same_parts(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two segmentations are the same up to names, with the same background."""
    (names, first), (other_names, second) = (np.unique(labels, return_inverse=True) for labels in (one, other))
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return pairs.shape[1] == len(names) == len(other_names) and bool(((one == 0) == (other == 0)).all())


def noisy_cells(size: int, dims: int) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Return affinities in which thousands of clusters exclude each other, so that tables grow and are cleaned."""
    rng = np.random.default_rng(size)
    shape = (size,) * dims
    grid = np.indices(shape) // 7
    cells = sum(part * 31**axis for axis, part in enumerate(grid))
    near = [tuple(int(axis == a) for a in range(dims)) for axis in range(dims)]
    offsets = [*near, *(tuple(4 * s for s in step) for step in near)]
    affinities = np.zeros((len(offsets), *shape))
    for channel, offset in zip(affinities, offsets, strict=True):
        there = np.roll(cells, [-o for o in offset], axis=range(dims))
        channel[:] = np.clip((cells == there) * 0.6 + 0.2 + 0.15 * rng.standard_normal(shape), 0, 1)
    return affinities.astype(np.float32), offsets


def plan_of_voxels(
    output: LocalArrayIdentifier,
    region: Roi,
    block_shape: Coordinate,
    function_file: str = "",
    absorb_below: int = 0,
) -> SegmentationPlan:
    """Return the plan of a segmentation whose voxels, context and growth are 1 along each axis."""
    one = Coordinate((1,) * region.dims)
    return SegmentationPlan(
        input=output,
        output=output,
        function_file=function_file,
        region=region,
        before=one,
        after=one,
        block_shape=block_shape,
        voxel_size=one,
        growth=one,
        absorb_below=absorb_below,
    )
