"""The blocks that a region is cut into, and regions around and inside blocks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import RoiError


@attrs.frozen
class BlockGrid:
    """A region cut into blocks from its lower corner; the last blocks are smaller. All extents are in world units.

    Attributes:
        region: The region.
        block_shape: Shape of a block.
    """

    region: Roi
    block_shape: Coordinate

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return tuple(int(-(-extent // step)) for extent, step in zip(self.region.shape, self.block_shape, strict=True))

    @property
    def count(self) -> int:
        """Number of blocks."""
        return math.prod(self.shape)

    def index(self, block: Roi) -> int:
        """Return the number of a block, by its region, in C order."""
        position = (block.offset - self.region.offset) / self.block_shape
        return int(np.ravel_multi_index(tuple(position), self.shape))

    def later_neighbors(self, block: Roi) -> Iterator[Roi]:
        """Yield the blocks that touch a block, at corners too, and have a higher number."""
        steps = list(itertools.product((-1, 0, 1), repeat=self.region.dims))
        for step in steps[len(steps) // 2 + 1 :]:
            begin = block.begin + self.block_shape * Coordinate(step)
            if self.region.contains(begin):
                yield Roi(begin, self.block_shape).intersect(self.region)


def written_region(total_roi: Roi, read_roi: Roi, write_roi: Roi) -> Roi:
    """Return the region that the blocks of a task write.

    Raises:
        RoiError: If a block would write more than it reads, or nothing is left to write.
    """
    if not total_roi.dims == read_roi.dims == write_roi.dims or write_roi.empty or not read_roi.contains(write_roi):
        raise RoiError(
            f"in {total_roi} a block cannot read {read_roi} and write {write_roi}; expected regions of as many axes, "
            "and that a block reads at least what it writes"
        )
    region = total_roi.grow(read_roi.begin - write_roi.begin, write_roi.end - read_roi.end)
    if any(extent <= 0 for extent in region.shape):
        raise RoiError(
            f"{total_roi} is too small: with blocks that read {read_roi} to write {write_roi} nothing is left to write"
        )
    return region


def count_blocks(total_roi: Roi, read_roi: Roi, write_roi: Roi) -> int:
    """Return the number of blocks of a task.

    Raises:
        RoiError: If the regions do not fit together.
    """
    return BlockGrid(written_region(total_roi, read_roi, write_roi), write_roi.shape).count


def shell(inner: Roi, outer: Roi) -> Iterator[Roi]:
    """Yield disjoint regions that together are an outer region without an inner one.

    The order is part of the file format of block files.
    """
    for axis in range(outer.dims):
        begin, end = list(outer.begin), list(outer.end)
        # Along earlier axes only the inner part, or corners would come twice.
        begin[:axis], end[:axis] = inner.begin[:axis], inner.end[:axis]
        for side in ((outer.begin[axis], inner.begin[axis]), (inner.end[axis], outer.end[axis])):
            begin[axis], end[axis] = side
            if side[0] < side[1]:
                yield Roi(begin, Coordinate(end) - Coordinate(begin))


def slices_of(part: Roi, whole: Roi, voxel_size: Coordinate) -> tuple[slice, ...]:
    """Return the slices of a region in an array that covers another one."""
    begin, end = (part.begin - whole.begin) / voxel_size, (part.end - whole.begin) / voxel_size
    return tuple(slice(int(b), int(e)) for b, e in zip(begin, end, strict=True))


def as_roi(roi: Any) -> Roi:
    """Return a region of Daisy as one of funlib."""
    return Roi(roi.offset, roi.shape)
