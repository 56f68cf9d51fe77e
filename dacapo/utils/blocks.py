"""Divide a volume into blocks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError


def fit_block_shape(block_shape: Sequence[int], volume_shape: Sequence[int]) -> Coordinate:
    """Return a block shape adapted to a volume, both in voxels.

    If the volume has fewer axes, the last ones of ``block_shape`` are used; if it has more, the first entry is
    repeated. The block is clipped to the volume along each axis.

    Raises:
        ConfigError: If the block shape has an entry below 1.
    """
    dims = len(volume_shape)
    if not len(block_shape) or any(b < 1 for b in block_shape):
        raise ConfigError(f"a block shape needs at least 1 voxel along each axis, got {tuple(block_shape)}")
    padded = (block_shape[0],) * (dims - len(block_shape)) + tuple(block_shape)
    return Coordinate(min(b, max(1, v)) for b, v in zip(padded[-dims:], volume_shape, strict=True))


def count_blocks(shape: Sequence[int], block_shape: Sequence[int]) -> int:
    """Return the number of blocks that cover a volume, with both shapes in the same unit.

    >>> count_blocks((10, 7), (4, 4))
    6
    """
    return math.prod(-(-int(extent) // int(step)) for extent, step in zip(shape, block_shape, strict=True))


def iterate_blocks(roi: Roi, block_shape: Coordinate, voxel_size: Coordinate) -> Iterator[Roi]:
    """Yield the regions of blocks that tile a region, the last axis fastest.

    Args:
        roi: The region to cover, in world units.
        block_shape: Shape of a block in voxels. Blocks start at the offset of ``roi``; those at its far end are cut.
        voxel_size: Size of a voxel in world units.
    """
    step = block_shape * voxel_size
    counts = (-(-extent // edge) for extent, edge in zip(roi.shape, step, strict=True))
    for index in itertools.product(*(range(int(count)) for count in counts)):
        yield Roi(roi.begin + step * Coordinate(index), step).intersect(roi)
