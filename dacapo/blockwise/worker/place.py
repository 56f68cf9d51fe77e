"""Numbering the living workers of a task, so that each gets a GPU of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PLACE = "place_"
"""Prefix of the files that living workers lock."""


@contextmanager
def taken_place(log_dir: Path, worker: int) -> Iterator[tuple[int, Sequence[int]]]:
    """Take the lowest number, from 0 on, that no living worker of the task holds, and release it afterwards.

    Daisy's own numbers keep rising, since it never reuses that of a dead worker.

    Args:
        log_dir: Folder of the files that are locked.
        worker: Daisy's number of the worker, which is used on a file system without locks.

    Yields:
        The number, and the descriptor of the locked file. The number is taken until every process that holds the
        descriptor has ended.
    """
    taken = None
    with suppress(OSError):
        taken = _lock_place(log_dir)
    if taken is None:
        yield worker, ()
        return
    number, handle = taken
    with handle:
        yield number, (handle.fileno(),)


def _lock_place(log_dir: Path) -> tuple[int, BinaryIO]:
    import fcntl

    number = 0
    while True:
        handle = (log_dir / f"{PLACE}{number}").open("wb")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            number += 1
        else:
            return number, handle
