"""Notes of the blocks that workers process, by which blocks of dead workers are known.

A worker process keeps one small file in the log folder and overwrites it in place. Creating and deleting a file for
each block would take longer than handing the block out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import daisy.v2 as daisy
from funlib.geometry import Roi

from dacapo.store.files import paths_named

_TAKEN = "taken_"
# Enough for regions of five axes with numbers of 64 bits.
_BYTES = 1024
_NONE = b" " * _BYTES
_WRITTEN = re.compile(r"write=Roi\(\(([-\d, ]+)\), \(([\d, ]+)\)\)")


@attrs.frozen
class TakenBlock:
    """The note of one worker.

    Attributes:
        handle: Descriptor of its file; None if that cannot be written, which must not stop the work.
    """

    handle: int | None

    @contextmanager
    def of(self, block: daisy.Block) -> Iterator[None]:
        """Keep a block in the note while the worker processes it; it stays there if the worker dies."""
        # Daisy's text of a block: making its regions takes as long as all else here.
        self._write(f"{block.block_id[1]} {block!r}".encode().ljust(_BYTES)[:_BYTES])
        yield
        self._write(_NONE)

    def _write(self, note: bytes) -> None:
        if self.handle is not None:
            with suppress(OSError):
                os.pwrite(self.handle, note, 0)


@contextmanager
def taken_block(log_dir: Path, worker: int) -> Iterator[TakenBlock]:
    """Open the note of a worker for a ``with`` block, and delete it at its end.

    Args:
        log_dir: Folder of the notes.
        worker: Daisy's number of the worker; a process that replaces a dead one has the same.
    """
    file, handle = log_dir / f"{_TAKEN}{worker}_{os.getpid()}.txt", None
    with suppress(OSError):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT, 0o644)
    note = TakenBlock(handle)
    note._write(_NONE)  # takes the space on disk, which may be full when the first block is taken
    try:
        yield note
    finally:
        if handle is not None:
            os.close(handle)
            with suppress(OSError):
                file.unlink(missing_ok=True)


def blocks_of_dead_workers(log_dir: Path) -> dict[int, tuple[Roi, int]]:
    """Return by number the blocks whose worker died: the region of each, and the number of the last such worker.

    Another worker may have done a block since.
    """
    found = {}
    for file in sorted(paths_named(log_dir, f"{_TAKEN}*.txt"), key=lambda file: file.stat().st_mtime_ns):
        with suppress(OSError, ValueError):  # no block was taken, or the worker died while it wrote the note
            note = file.read_text(encoding="utf-8")
            number, region = int(note.split(" ", 1)[0]), _WRITTEN.search(note)
            if region is not None:
                found[number] = _roi(region), int(file.stem.split("_")[1])
    return found


def _roi(found: re.Match[str]) -> Roi:
    return Roi(*([int(number) for number in part.split(",") if number.strip()] for part in found.groups()))
