"""Change a file as a whole or not at all, for libraries that leave a broken one where a write fails."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dacapo.errors import StorageError

from .files import is_file, remove_file, storage_error, write_bytes


def replace_file(path: Path, content: bytes) -> None:
    """Write a new file, atomically, without the changes that are noted for the one before.

    Raises:
        StorageError: If it cannot be written; the message names the path and the cause.
    """
    remove_file(_notes_of(path), missing_ok=True)
    write_bytes(path, content)


@contextmanager
def whole_changes(path: Path) -> Iterator[io.RawIOBase]:
    """Open a file such that what is written to it is stored together, when the ``with`` block succeeds.

    Until then it is in memory. What is new at the end is written first, since nothing in the file refers to it yet.
    Changes of what was there are noted in a file beside it, and then made. If the process does not live to make them,
    the next one that opens the file does. So the file always is as before the block or as after it.

    Args:
        path: The existing file, which one process changes at a time.

    Yields:
        The file. Writing to it does not fail for want of space.

    Raises:
        StorageError: If the file cannot be read or written; the message names the path and the cause.
    """
    noted = _notes_of(path)
    try:
        with path.open("r+b", buffering=0) as file:
            _make(noted, file.fileno())
            changed = _ChangedFile(file.fileno())
            yield changed
            changed.store(noted)
            _make(noted, file.fileno())
    except StorageError:
        raise
    except OSError as error:
        raise storage_error("write", path, error) from error


class _ChangedFile(io.RawIOBase):
    """A file with changes that are in memory.

    Args:
        handle: The open file.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._old_size = self._size = os.fstat(handle).st_size
        self._position = 0
        self._changes: list[tuple[int, bytes]] = []

    def readable(self) -> bool:
        return True

    seekable = writable = readable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        values = memoryview(buffer).cast("B")
        begin, end = self._position, min(self._position + len(values), self._size)
        stored = os.pread(self._handle, max(0, end - begin), begin)
        values[:] = stored + bytes(len(values) - len(stored))  # zeros where nothing was written
        for offset, content in self._changes:
            first, last = max(begin, offset), min(end, offset + len(content))
            if first < last:
                values[first - begin : last - begin] = content[first - offset : last - offset]
        self._position = max(begin, end)
        return self._position - begin

    def write(self, buffer: Any) -> int:
        content = bytes(buffer)
        self._changes.append((self._position, content))
        self._position += len(content)
        self._size = max(self._size, self._position)
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        self._size = self._position if size is None else size
        return self._size

    def store(self, noted: Path) -> None:
        """Write what is new at the end, and note the changes of what was there in a file."""
        changes: list[tuple[int, bytes]] = []
        for offset, content in self._changes:
            old = max(0, self._old_size - offset)
            if content[:old]:
                changes.append((offset, content[:old]))
            if content[old:]:
                _write(self._handle, offset + old, content[old:])
        buffer = io.BytesIO()
        np.savez(
            buffer,
            size=self._size,
            offsets=[offset for offset, _ in changes],
            lengths=[len(content) for _, content in changes],
            content=np.frombuffer(b"".join(content for _, content in changes), np.uint8),
        )
        write_bytes(noted, buffer.getvalue())


def _notes_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.changes")


def _make(noted: Path, handle: int) -> None:
    """Make the changes that a file notes, if there is one, and remove it."""
    if not is_file(noted):
        return
    with np.load(noted) as changes:
        begin, content = 0, changes["content"]
        for offset, length in zip(changes["offsets"].tolist(), changes["lengths"].tolist(), strict=True):
            _write(handle, offset, content[begin : begin + length].tobytes())
            begin += length
        os.ftruncate(handle, int(changes["size"]))
    remove_file(noted)


def _write(handle: int, offset: int, content: bytes) -> None:
    while content:
        written = os.pwrite(handle, content, offset)
        offset, content = offset + written, content[written:]
