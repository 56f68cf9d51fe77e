"""A large file at a URL, of which only the parts that are needed are read."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from dacapo.errors import StorageError
from dacapo.utils.paths import is_url, shown

from . import remote
from .plane_cache import planes

BLOCK = 2**20
"""Bytes that are requested and kept in memory at once; fewer at the end of a file."""

# The size of a file is searched by requests of single bytes, so many at the same time.
_PROBES = 8
_FIRST_PROBES = [0, *(2**power for power in range(14, 51, 6))]


def exists(path: Path) -> bool:
    """Return whether a file or folder exists; at a URL, whether a file does.

    Raises:
        StorageError: If the server refuses or cannot be reached.
    """
    if not is_url(path):
        return path.exists()
    return remote.memory_file(path) is not None if remote.in_memory(path) else _read(path, [slice(0, 1)])[0] is not None


def version_of(path: Path, is_small: bool = False) -> int | str | None:
    """Return a value that differs if a file was changed; None at a URL whose server gives no such value.

    Args:
        path: The file.
        is_small: Whether all of it may be requested, which every server can send.

    Raises:
        OSError: If the file does not exist, or cannot be read; a :class:`~dacapo.errors.StorageError` at a URL.
    """
    if not is_url(path):
        return path.stat().st_mtime_ns
    if remote.in_memory(path):
        return None
    store = _store(path.parent, os.getpid())
    try:
        request = store.read(path.name, byte_range=None if is_small else slice(0, 1))
        return str(request.result(remote.TIMEOUT).stamp.generation) or None
    except Exception as error:
        raise StorageError(f"cannot read {shown(path)}: {_why(error)}") from error


def open_file(path: Path) -> Any:
    """Open a file for reading, on a disk or at a URL.

    Raises:
        OSError: If it does not exist, or cannot be read; a :class:`~dacapo.errors.StorageError` at a URL.
    """
    if not is_url(path):
        return path.open("rb")
    if remote.in_memory(path):
        found = remote.memory_file(path)
        if found is None:
            raise StorageError(f"{shown(path)} does not exist")
        return found
    return io.BufferedReader(RemoteFile(path), buffer_size=2**16)


def readable(path: Path) -> Any:
    """Return what libraries read: the path of a file on a disk, or an open file at a URL."""
    return open_file(path) if is_url(path) else path


class RemoteFile(io.RawIOBase):
    """A file at a URL, read in blocks that are kept within the memory of the option ``chunk_cache_bytes``.

    It has its own position, but no connection: those are made by TensorStore for each process.
    """

    def __init__(self, path: Path) -> None:
        """Find out the size of the file.

        Raises:
            StorageError: If it does not exist, or the server refuses or does not send parts of files.
        """
        super().__init__()
        self.path = path
        self.size = _size_of(path)
        self._position = 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position."""
        self._position = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence])
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read as many bytes as there are, up to the size of the buffer."""
        target = memoryview(buffer).cast("B")
        begin, end = self._position, min(self._position + len(target), self.size)
        if begin >= end:
            return 0
        numbers = range(begin // BLOCK, (end - 1) // BLOCK + 1)
        for number, block in zip(numbers, self._blocks(numbers), strict=True):
            first, last = max(begin, number * BLOCK), min(end, (number + 1) * BLOCK)
            target[first - begin : last - begin] = block[first - number * BLOCK : last - number * BLOCK].data
        self._position = end
        return end - begin

    def _blocks(self, numbers: Sequence[int]) -> list[np.ndarray[Any, Any]]:
        keys = {number: (shown(self.path), self.size, number) for number in numbers}
        missing = [number for number in numbers if keys[number] not in planes]
        parts = [slice(number * BLOCK, min((number + 1) * BLOCK, self.size)) for number in missing]
        fetched = dict(zip(missing, _read(self.path, parts), strict=True))

        def block(number: int) -> np.ndarray[Any, Any]:
            part = slice(number * BLOCK, min((number + 1) * BLOCK, self.size))
            found = fetched[number] if number in fetched else _read(self.path, [part])[0]
            if not isinstance(found, bytes):
                raise StorageError(f"{shown(self.path)} has changed or disappeared while it was read")
            return np.frombuffer(found, np.uint8)

        return [planes.get(keys[number], partial(block, number)) for number in numbers]


def _size_of(path: Path) -> int:
    """Return the number of bytes of a file, which TensorStore does not tell.

    Raises:
        StorageError: If the file does not exist, or is empty.
    """
    # The byte at low exists, that at high does not.
    low: int = -1
    high: int = _FIRST_PROBES[-1]
    places = _FIRST_PROBES
    while high - low > 1:
        held = _read(path, [slice(place, place + 1) for place in places])
        if low < 0 and held[0] is None:
            raise StorageError(f"{shown(path)} does not exist")
        if low < 0 and not held[0]:
            raise StorageError(f"{shown(path)} is empty")
        low = max([low, *(place for place, byte in zip(places, held, strict=True) if byte)])
        high = min([high, *(place for place, byte in zip(places, held, strict=True) if not byte)])
        step = max(1, (high - low) // (_PROBES + 1))
        places = list(range(low + step, high, step))
    return high


def _read(path: Path, parts: Sequence[slice]) -> list[bytes | None]:
    """Read parts of a file at the same time; None for the file if it does not exist, empty beyond its end.

    Raises:
        StorageError: If the server refuses, cannot be reached, or does not send parts of files.
    """
    store, results = _store(path.parent, os.getpid()), []
    requests = [store.read(path.name, byte_range=part) for part in parts]
    for request in requests:
        try:
            answer = request.result(remote.TIMEOUT)
            results.append(bytes(answer.value) if answer.state == "value" else None)
        except Exception as error:
            if "OUT_OF_RANGE" in str(error):
                results.append(b"")
                continue
            raise StorageError(f"cannot read {shown(path)}: {_why(error)}") from error
    return results


def _why(error: Exception) -> str:
    why = remote.cause(error)
    return "the server sends only whole files; download it" if "ignored by server" in why else why


@lru_cache(maxsize=64)
def _store(folder: Path, process: int) -> Any:
    import tensorstore

    return tensorstore.KvStore.open(remote.kvstore_spec(folder), context=remote.open_context()).result(remote.TIMEOUT)
