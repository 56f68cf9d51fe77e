"""Divide the region of a prediction into even blocks."""

from __future__ import annotations

import math

from funlib.geometry import Coordinate

from dacapo.experiments.block_plan import BlockPlan, round_up
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.model import Model

# With this number of blocks each, workers finish at about the same time.
_BLOCKS_PER_WORKER = 4


def least_shape(model: Model, raw: Array) -> Coordinate:
    """Return the smallest useful block: the output shape of training."""
    stride = model.architecture.stride * raw.voxel_size
    output = model.output_shape * model.scale(raw.voxel_size)
    return Coordinate(max(step, extent // step * step) for step, extent in zip(stride, output, strict=True))


def block_shape(least: BlockPlan, counts: list[int]) -> Coordinate:
    """Return the shape of blocks that divide the region evenly, but at least the smallest shape."""
    even = Coordinate(-(-extent // count) for extent, count in zip(least.output_roi.shape, counts, strict=True))
    shape = round_up(even, least.step)
    return Coordinate(
        min(max(want, small), extent)
        for want, small, extent in zip(shape, least.write_shape, least.output_roi.shape, strict=True)
    )


def split_longest(counts: list[int], shape: Coordinate, least: BlockPlan) -> bool:
    """Divide blocks once more along the longest axis, in voxels, that can be divided; return whether one can be."""
    voxels = shape / least.output_voxel_size
    able = [axis for axis in range(len(counts)) if shape[axis] > least.write_shape[axis]]
    if not able:
        return False
    counts[max(able, key=lambda axis: voxels[axis])] += 1
    return True


def split_for_workers(counts: list[int], least: BlockPlan, num_workers: int) -> None:
    """Divide blocks until every worker has some."""
    while num_workers > 1 and math.prod(counts) < _BLOCKS_PER_WORKER * num_workers:
        if not split_longest(counts, block_shape(least, counts), least):
            return
