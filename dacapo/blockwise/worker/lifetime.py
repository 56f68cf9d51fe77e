"""Ending a worker together with the process that hands out its blocks."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Option of prctl(2): the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1


@contextmanager
def end_with(parent: int) -> Iterator[None]:
    """Leave the context with an exception when the parent of this process ends, even if it is killed.

    Leaving ends the worker, which would otherwise write blocks that another call may be repeating.
    """

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        if sys.platform == "linux":
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent and os.getpid() != parent:
            leave()
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
