"""Metadata of unknown origin: wrong types and sizes are errors of the file, not of the program that reads it."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dacapo.errors import DacapoError, MemoryBudgetError, MetadataError
from dacapo.utils.memory import format_size, total_memory

_MOST_VALUES = 1 << 62
_UNKNOWN_MEMORY = 1 << 40
_SURELY_FITS = 1 << 30
# What Python code and libraries raise when a value has another type, length or size than they expect.
_OF_CONTENT = (
    ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError, struct.error,
)  # fmt: skip


@contextmanager
def metadata_errors(where: str) -> Iterator[None]:
    """Raise a :class:`~dacapo.errors.MetadataError` for metadata that code inside a ``with`` block cannot interpret.

    Args:
        where: The file or array, for the message.
    """
    try:
        yield
    except (DacapoError, NotImplementedError):
        raise
    except _OF_CONTENT as error:
        raise MetadataError(f"the metadata of {where} is invalid: {type(error).__name__}: {error}") from error


def check_sizes(where: str, kind: str, header: Mapping[str, Any]) -> None:
    """Check the shape of an array and its chunks, before anything is allocated for them.

    Args:
        where: The array, for the message.
        kind: Its format.
        header: The metadata of the format.

    Raises:
        MetadataError: If they are no whole numbers, do not fit together, or a chunk exceeds the memory of this machine.
    """
    if kind == "zarr2" and header.get("dimension_separator", ".") not in (".", "/"):
        raise MetadataError(f"{where} has dimension_separator {header['dimension_separator']!r}; expected '.' or '/'")
    shape, chunks = _sizes(kind, header)
    _check_numbers(where, "shape", shape, least=0)
    if math.prod(shape) > _MOST_VALUES:
        raise MetadataError(f"{where} has shape {shape}, which is too large for any file; the metadata is damaged")
    for name, sizes in chunks.items():
        _check_numbers(where, name, sizes, least=1)
        if len(sizes) != len(shape):
            raise MetadataError(f"{where} has {name} {sizes} but shape {shape}; expected a number for each axis")
        size = math.prod(sizes) * _least_itemsize(header)
        if size > _SURELY_FITS and size > (memory := total_memory() or _UNKNOWN_MEMORY):
            raise MetadataError(
                f"{where} has {name} {sizes}; a chunk is decoded as a whole and takes at least {format_size(size)}, "
                f"more than the {format_size(memory)} of this machine"
            )


def _least_itemsize(header: Mapping[str, Any]) -> int:
    """Return the bytes of a value by names of types such as ``<u2`` and ``uint16``; 1 for others."""
    name = next((str(header[key]) for key in ("dtype", "dataType", "data_type") if key in header), "")
    match = re.fullmatch(r"[<>|]?[biuf](\d{1,2})|[a-z]+(\d{1,3})", name)
    if match is None:
        return 1
    return max(1, int(match[1]) if match[1] else int(match[2]) // 8)


def check_readable(array: object, index: Sequence[slice], shape: Sequence[int], itemsize: int) -> None:
    """Check that the values at an index fit into the memory of this machine; most do, and are not compared with it.

    Raises:
        MemoryBudgetError: If they do not.
    """
    size = itemsize * math.prod(len(range(*part.indices(edge))) for part, edge in zip(index, shape, strict=True))
    if size > _SURELY_FITS and size > (memory := total_memory() or _UNKNOWN_MEMORY):
        raise MemoryBudgetError(
            f"{array}: this region holds {format_size(size)}, more than the {format_size(memory)} of this machine; "
            "read it in parts"
        )


def _check_numbers(where: str, name: str, sizes: Any, least: int) -> None:
    if not isinstance(sizes, list) or not all(type(size) is int and least <= size < _MOST_VALUES for size in sizes):
        raise MetadataError(f"{where} has {name} {sizes!r:.200}; expected a list of whole numbers from {least} on")


def _sizes(kind: str, header: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the shape that a header states, and the shapes of its chunks by their name."""
    if kind == "n5":
        return header.get("dimensions"), {"blockSize": header.get("blockSize")}
    if kind == "zarr2":
        return header.get("shape"), {"chunks": header.get("chunks")}
    if kind != "zarr3":
        return header.get("shape"), {f"chunk_sizes[{n}]": sizes for n, sizes in enumerate(header.get("chunks", []))}
    chunks = {"chunk_shape": header.get("chunk_grid", {}).get("configuration", {}).get("chunk_shape")}
    for codec in header.get("codecs", []):
        inner = codec.get("configuration", {}) if isinstance(codec, Mapping) else {}
        if "chunk_shape" in inner:
            chunks["chunk_shape of the shards"] = inner["chunk_shape"]
    return header.get("shape"), chunks
