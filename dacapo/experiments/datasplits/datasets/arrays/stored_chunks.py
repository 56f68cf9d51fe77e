"""Which chunks of an array on disk exist.

A chunk that does not is read as the fill value, without an error. The packages that read arrays also take for missing
what is there but cannot be read, such as a link that leads nowhere, so dacapo looks itself.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from typing import Any

from dacapo.errors import StorageError
from dacapo.utils.paths import is_url

from .places import mode_of
from .precomputed import PRECOMPUTED
from .precomputed_chunks import chunk_name
from .stored_array import StoredArray

Number = tuple[int, ...]

_COMPRESSED = (".gz", ".br", ".zst", ".xz")


def stored_chunks(found: StoredArray, opened: Any, index: Sequence[slice]) -> dict[Number, bool]:
    """Return for each chunk that overlaps an index whether it is stored.

    Args:
        found: The array.
        opened: The same array, opened.
        index: One slice per axis, with begin and end, inside the array.

    Returns:
        Whether it is stored, by the number of the chunk along each axis; empty for precomputed volumes at URLs and in
        shards, which do not tell.

    Raises:
        StorageError: If that cannot be told.
    """
    if found.format == PRECOMPUTED and (is_url(found.container) or found.header["sharding"] is not None):
        return {}
    if found.is_opened_by_zarr or found.format == PRECOMPUTED:
        return {number: _is_stored(found, file) for number, file in chunk_files(found, opened, index)}
    chunks = opened.chunk_layout.read_chunk.shape
    return {number: _in_tensorstore(opened, number, chunks) for number in _numbers(index, opened.shape, chunks)}


def check_chunks(found: StoredArray, opened: Any, index: Sequence[slice]) -> None:
    """Check that each chunk at an index is a file or missing; see the arguments of :func:`stored_chunks`.

    URLs are not checked.

    Raises:
        StorageError: If one is something else, such as a folder or a link that leads nowhere; the message names it.
    """
    if not is_url(found.container):
        for _, file in chunk_files(found, opened, index):
            _is_stored(found, file)


def _is_stored(found: StoredArray, file: str) -> bool:
    """Return whether the file of a chunk exists.

    Raises:
        StorageError: If something else is there, or in place of a folder above it, or that cannot be told.
    """
    mode = mode_of(file)
    if mode is not None:
        if not stat.S_ISREG(mode):
            raise StorageError(f"cannot read {file}: expected the file of a chunk, found no file")
        return True
    if found.format == PRECOMPUTED:
        _check_uncompressed(file)
    folder, root = os.path.dirname(file), os.fspath(found.path)
    while len(folder) >= len(root):
        above = mode_of(folder)
        if above is not None and not stat.S_ISDIR(above):
            raise StorageError(f"cannot read {file}: {folder} is no folder")
        if above is not None:
            break
        folder = os.path.dirname(folder)
    return False


def _check_uncompressed(file: str) -> None:
    """Raise an error if a missing file is there in compressed form, as other programs write precomputed volumes."""
    for ending in _COMPRESSED:
        if mode_of(file + ending) is not None:
            raise StorageError(f"cannot read {file}{ending}: files compressed as a whole are not; decompress them all")


def chunk_files(found: StoredArray, opened: Any, index: Sequence[slice]) -> Iterator[tuple[Number, str]]:
    """Yield the number and the file of each chunk at an index.

    Of Zarr v3, a file can hold several chunks, and they count as one; of precomputed volumes too, and each counts.
    """
    folder, header = os.fspath(found.path), found.header
    if found.format == PRECOMPUTED:
        shape = opened.chunk_layout.read_chunk.shape
        for number in _numbers(index, opened.shape, shape):
            yield number, f"{folder}{os.sep}{chunk_name(header, number[-3:], shape[-3:])}"
        return
    chunks = opened.chunks if found.is_opened_by_zarr else opened.chunk_layout.write_chunk.shape
    prefix, separator, backward = "", "/", False
    if found.format == "zarr2":
        separator = header.get("dimension_separator", ".")
    elif found.format == "n5":
        backward = True  # it lists its axes from the fastest to the slowest
    else:
        encoding = header.get("chunk_key_encoding", {})
        is_default = encoding.get("name", "default") == "default"
        separator = encoding.get("configuration", {}).get("separator", "/" if is_default else ".")
        prefix = f"c{separator}" if is_default else ""
    for number in _numbers(index, opened.shape, chunks):
        parts = map(str, reversed(number) if backward else number)
        yield number, f"{folder}{os.sep}{prefix}{separator.join(parts)}"


def _numbers(index: Sequence[slice], shape: Sequence[int], chunks: Sequence[int]) -> Iterator[Number]:
    bounds = [part.indices(size)[:2] for part, size in zip(index, shape, strict=True)]
    return itertools.product(
        *(range(begin // size, -(-end // size)) for (begin, end), size in zip(bounds, chunks, strict=True))
    )


def _in_tensorstore(opened: Any, number: Number, chunks: Sequence[int]) -> bool:
    place = zip(number, chunks, opened.shape, strict=True)
    part = opened[tuple(slice(n * size, min((n + 1) * size, end)) for n, size, end in place)]
    return not bool(part.storage_statistics(query_not_stored=True).result().not_stored)
