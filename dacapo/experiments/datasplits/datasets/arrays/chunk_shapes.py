"""The shape of the chunks of a new array."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .axes import CHUNK_EDGE, NON_SPATIAL_AXES, spatial_axes_of

MAX_CHUNK_BYTES = 256 * 2**20
"""Larger chunks are split. Compressors are limited to 2 GiB, and a reader holds a whole chunk in memory."""


def chunk_shape(
    shape: Sequence[int], axes: Sequence[str], itemsize: int, write_shape: Sequence[int] | None
) -> tuple[int, ...]:
    """Return the shape of chunks for an array that is written in blocks.

    Each block covers whole chunks if blocks start at multiples of their size: a chunk is one block with all its
    channels, or an equal fraction of it if that would be too large.

    Args:
        shape: Shape of the array, in voxels and channels.
        axes: Names of the axes.
        itemsize: Bytes per value.
        write_shape: Voxels per single write, per spatial axis; None for a default.
    """
    dims = len(spatial_axes_of(list(axes)))
    wanted = iter(write_shape if write_shape is not None else (CHUNK_EDGE.get(dims, 16),) * dims)
    chunks = [
        size if axis in NON_SPATIAL_AXES else max(1, min(size, int(next(wanted))))
        for axis, size in zip(axes, shape, strict=True)
    ]
    spatial = [i for i, axis in enumerate(axes) if axis not in NON_SPATIAL_AXES]
    if math.prod(chunks) * itemsize > MAX_CHUNK_BYTES:
        chunks = [size if i in spatial else 1 for i, size in enumerate(chunks)]
    while math.prod(chunks) * itemsize > MAX_CHUNK_BYTES:
        even = [i for i in spatial if chunks[i] % 2 == 0]
        if not even:
            break
        largest = max(even, key=lambda i: chunks[i])
        chunks[largest] //= 2
    return tuple(chunks)
