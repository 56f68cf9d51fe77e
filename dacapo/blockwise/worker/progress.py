"""Progress of a task, as files in its log folder that tell those that start workers whether blocks get done."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import attrs

from dacapo.errors import StorageError
from dacapo.store.files import paths_named

_COUNT, _DID = "blocks_done", "did_"


@attrs.define
class DoneCount:
    """Writes the number of blocks of a task that are done; the scheduling process does."""

    _handle: BinaryIO

    @classmethod
    def create(cls, log_dir: Path) -> DoneCount:
        """Create the file, with all the space that it needs.

        Raises:
            StorageError: If it cannot be written.
        """
        try:
            log_dir.mkdir(parents=True, exist_ok=True)
            handle = (log_dir / _COUNT).open("wb", buffering=0)
            handle.write(_text(0))
        except OSError as error:
            raise StorageError(f"cannot write {log_dir}: {error}") from error
        return cls(handle)

    def write(self, count: int) -> None:
        """Write the number."""
        # Without this news, the end of a worker counts as one without progress. The next news may arrive.
        with suppress(OSError):
            self._handle.seek(0)
            self._handle.write(_text(count))

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def blocks_done(log_dir: Path) -> bytes:
    """Return what the file of a :class:`DoneCount` holds, only to be compared; nothing without a file."""
    try:
        return (log_dir / _COUNT).read_bytes()
    except OSError:
        return b""


def did_a_block(log_dir: Path, worker: int) -> Path:
    """Return the file that a worker makes once it has done a block.

    Args:
        log_dir: Folder for the logs of the workers.
        worker: Daisy's number of its place.
    """
    return log_dir / f"{_DID}{worker}"


def progress_files(log_dir: Path) -> list[Path]:
    """Return all these files of a task."""
    return [log_dir / _COUNT, *paths_named(log_dir, f"{_DID}*")]


def _text(count: int) -> bytes:
    return b"%020d\n" % count
