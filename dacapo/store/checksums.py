"""A checksum at the end of a file, which stays with it wherever the file is moved, copied or linked.

A zip archive may be followed by other bytes, so programs that know nothing of the checksum, torch among them, read the
file as before. Files without one, those of earlier versions and of the original, are compared with the checksums that
the archive keeps of its entries, which miss changes between the entries.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from dacapo.errors import DamagedFileError
from dacapo.store.files import storage_error

_MARK = b"dacapo:crc32:"
_LENGTH = len(_MARK) + 8
_CHUNK = 2**20
# The last record of a zip archive, which without a comment is this long and ends in two zeros.
_END, _END_LENGTH = b"PK\x05\x06", 22


class ChecksumWriter:
    """Passes what is written on to a file, and adds up its checksum.

    Args:
        file: An open binary file, at its beginning.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sum = file, 0

    def write(self, data: bytes) -> int:
        """Write some bytes."""
        self._sum = zlib.crc32(data, self._sum)
        return self._file.write(data)

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()

    def finish(self) -> None:
        """Write the checksum, after everything else."""
        self._file.write(_MARK + b"%08x" % self._sum)


def check_content(path: Path) -> None:
    """Compare a zip archive with its checksum, or those of its entries; other files have none and are left alone.

    Raises:
        DamagedFileError: If they differ, or the file is neither complete nor followed by a checksum.
        StorageError: If the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"PK\x03\x04":
                return
            size = file.seek(0, 2)
            file.seek(max(0, size - _LENGTH - _END_LENGTH))
            tail = file.read()
            if tail[-_LENGTH:].startswith(_MARK):
                file.seek(0)
                fits = b"%08x" % _sum_of(file, size - _LENGTH) == tail[-8:]
            elif tail[-_END_LENGTH:].startswith(_END) and tail.endswith(b"\0\0"):
                fits = _entries_fit(file)
            else:
                fits = False
    except OSError as error:
        raise storage_error("read", path, error) from error
    if not fits:
        raise DamagedFileError(
            f"{path} is damaged or cut off: its content does not fit its checksum; remove it or restore a copy"
        )


def _sum_of(file: BinaryIO, size: int) -> int:
    """Return the checksum of the next bytes of a file."""
    total = 0
    while size > 0:
        data = file.read(min(_CHUNK, size))
        if not data:
            break
        total, size = zlib.crc32(data, total), size - len(data)
    return total


def _entries_fit(file: BinaryIO) -> bool:
    """Return whether the entries of a zip archive have their checksums."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    # A damaged archive can claim anything: encryption, an unknown version or compression, a name that is no text.
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, zlib.error):
        return False
