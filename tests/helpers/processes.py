"""Waiting for processes, and limits on them."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let writes beyond a size fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def wait_until(condition: Callable[[], object], seconds: float = 120, interval: float = 0.02) -> None:
    """Wait until a condition holds, and fail if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} seconds for nothing"
        time.sleep(interval)


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and that nobody has asked for its status does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it ended before, or while it was looked at
        return False


def wait_for_checkpoint(process: subprocess.Popen[Any], base: Path, run: str) -> None:
    """Wait until a process that trains has stored its first checkpoint under a base folder."""
    folder = base / run / "checkpoints" / "iterations"

    def stored() -> bool:
        assert process.poll() is None, f"training ended: {process.communicate()[1]}"
        return any(path.name.isdigit() for path in folder.glob("*"))

    wait_until(stored, seconds=200, interval=0.005)
