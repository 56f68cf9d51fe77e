"""The blocks that a volume is divided into, and regions around and inside blocks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, RoiError

LEAST_EDGE = 32
"""Blocks are made smaller to fit into memory until their edges have this number of voxels."""


@attrs.frozen
class BlockGrid:
    """A region cut into blocks from its lower corner; the last blocks are smaller. All extents are in the same unit.

    Iterating yields the regions of the blocks in C order, the last axis fastest.

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

    def __iter__(self) -> Iterator[Roi]:
        for position in itertools.product(*map(range, self.shape)):
            yield Roi(self.region.begin + self.block_shape * Coordinate(position), self.block_shape).intersect(
                self.region
            )

    def index(self, block: Roi) -> int:
        """Return the number of a block, by its region, in C order."""
        position = (block.offset - self.region.offset) / self.block_shape
        return int(np.ravel_multi_index(tuple(position), self.shape))

    def numbers(self, region: Roi) -> npt.NDArray[np.int64]:
        """Return the numbers of the blocks that a part of the region touches, in order."""
        begin = (region.begin - self.region.begin) // self.block_shape
        end = -((self.region.begin - region.end) // self.block_shape)
        axes = [np.arange(first, last) for first, last in zip(begin, end, strict=True)]
        return np.ravel_multi_index(np.ix_(*axes), self.shape).ravel().astype(np.int64)

    def runs(self, most: int) -> BlockGrid:
        """Return a grid of larger blocks, each of which consists of up to ``most`` blocks with consecutive numbers.

        >>> grid = BlockGrid(Roi((0, 0), (4, 3)), Coordinate(1, 1))
        >>> [grid.numbers(run).tolist() for run in grid.runs(6)]
        [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
        """
        counts, left = [], max(1, most)
        for extent in reversed(self.shape):
            counts.append(min(extent, left))
            left = left // extent if counts[-1] == extent else 1
        return BlockGrid(self.region, self.block_shape * Coordinate(reversed(counts)))

    def later_neighbors(self, block: Roi) -> Iterator[Roi]:
        """Yield the blocks that touch a block, at corners too, and have a higher number."""
        steps = list(itertools.product((-1, 0, 1), repeat=self.region.dims))
        for step in steps[len(steps) // 2 + 1 :]:
            begin = block.begin + self.block_shape * Coordinate(step)
            if self.region.contains(begin):
                yield Roi(begin, self.block_shape).intersect(self.region)


def fit_block_shape(block_shape: Sequence[int], volume_shape: Sequence[int]) -> Coordinate:
    """Return a block shape adapted to a volume, both in voxels.

    If the volume has fewer axes, the last ones of ``block_shape`` are used; if it has more, the first entry is
    repeated. The block is clipped to the volume along each axis.

    Raises:
        ConfigError: If the block shape has an entry below 1.
    """
    if not len(block_shape) or any(b < 1 for b in block_shape):
        raise ConfigError(f"a block shape needs at least 1 voxel along each axis, got {tuple(block_shape)}")
    shape = last_axes(block_shape, len(volume_shape))
    return Coordinate(min(b, max(1, v)) for b, v in zip(shape, volume_shape, strict=True))


def smaller_block(block_shape: Coordinate, context: Coordinate, most_voxels: float) -> Coordinate:
    """Halve a block until it and its context, both in voxels, fit into a number of voxels.

    Edges stay at least :data:`LEAST_EDGE` long, even if such a block does not fit.

    >>> smaller_block(Coordinate(256, 256, 256), Coordinate(32, 32, 32), 10**7)
    (128, 128, 128)
    """
    shape = [int(extent) for extent in block_shape]
    while math.prod(Coordinate(shape) + context * 2) > most_voxels and max(shape) > LEAST_EDGE:
        longest = shape.index(max(shape))
        shape[longest] = max(LEAST_EDGE, -(-shape[longest] // 2))
    return Coordinate(shape)


def last_axes(extent: Sequence[int], dims: int) -> tuple[int, ...]:
    """Return an extent for each axis: the last ones of those given, with the first one repeated for more axes."""
    return ((extent[0],) * (dims - len(extent)) + tuple(extent))[-dims:]


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
