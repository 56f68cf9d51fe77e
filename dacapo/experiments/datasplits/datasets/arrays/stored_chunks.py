"""Which chunks of an array on disk exist; a chunk that does not is read as the fill value, without an error."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .containers import StoredArray
from .places import has_file
from .precomputed import PRECOMPUTED


def stored_chunks(found: StoredArray, opened: Any, index: Sequence[slice]) -> dict[tuple[int, ...], bool]:
    """Return for each chunk that overlaps an index whether it is stored.

    Args:
        found: The array.
        opened: The same array, opened.
        index: One slice per axis, with begin and end, inside the array.

    Returns:
        Whether it is stored, by the number of the chunk along each axis; empty for precomputed volumes, which do not
        tell.
    """
    if found.format == PRECOMPUTED:
        return {}
    is_zarr2 = found.is_opened_by_zarr
    chunks = opened.chunks if is_zarr2 else opened.chunk_layout.read_chunk.shape
    bounds = [part.indices(size)[:2] for part, size in zip(index, opened.shape, strict=True)]
    numbers = (range(begin // size, -(-end // size)) for (begin, end), size in zip(bounds, chunks, strict=True))
    is_stored = _in_zarr2 if is_zarr2 else _in_tensorstore
    return {number: is_stored(found, opened, number, chunks) for number in itertools.product(*numbers)}


def _in_zarr2(found: StoredArray, opened: Any, number: tuple[int, ...], chunks: Sequence[int]) -> bool:
    separator = found.header.get("dimension_separator", ".")
    file: Path = found.path / separator.join(map(str, number))
    return has_file(file)


def _in_tensorstore(found: StoredArray, opened: Any, number: tuple[int, ...], chunks: Sequence[int]) -> bool:
    place = zip(number, chunks, opened.shape, strict=True)
    part = opened[tuple(slice(n * size, min((n + 1) * size, end)) for n, size, end in place)]
    return not bool(part.storage_statistics(query_not_stored=True).result().not_stored)
