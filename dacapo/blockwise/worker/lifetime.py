"""Ending a worker together with the process that hands out its blocks, and with the work."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from dacapo.utils.signals import interrupt_main_thread

# Option of prctl(2): the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1
# Seconds between questions whether blocks are still handed out, and for workers to end by themselves after that.
_INTERVAL = 2.0
_GRACE = 5.0
_HERE = "127.0.0.1"


@contextmanager
def end_with(parent: int, context: Mapping[str, str] | None = None) -> Iterator[None]:
    """Leave the context with an exception when the parent of this process ends, even if it is killed.

    Leaving ends the worker, which would otherwise write blocks that another call may be repeating.

    Args:
        parent: Number of the parent.
        context: Daisy's context of the worker. With it, the context is also left, without an exception, some seconds
            after blocks are handed out no more. It ends jobs that still wait in the queue of a cluster, which Daisy
            would wait for.
    """

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    left, over = threading.Event(), threading.Event()
    try:
        if sys.platform == "linux":
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent and os.getpid() != parent:
            leave()
        if context is not None and "port" in context:
            threading.Thread(target=_end_after, args=(context, left, over), daemon=True).start()
        yield
    except SystemExit:
        if not over.is_set():
            raise
    finally:
        left.set()
        signal.signal(signal.SIGTERM, before)


def is_over(context: Mapping[str, str]) -> bool:
    """Return whether blocks are handed out no more, as seen on the machine that did so.

    Args:
        context: Daisy's context of a worker.
    """
    if "port" not in context:
        return False
    port = int(context["port"])
    # The port is open for all networks of the machine, or for one of them.
    return _is_refused(_HERE, port) and (context["hostname"] == _HERE or not _is_reached(context["hostname"], port))


def _end_after(context: Mapping[str, str], left: threading.Event, over: threading.Event) -> None:
    while not left.wait(_INTERVAL):
        if is_over(context) and not left.wait(_GRACE) and is_over(context):
            over.set()
            interrupt_main_thread(signal.SIGTERM)
            return


def _is_refused(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _GRACE).close()
    except ConnectionRefusedError:
        return True
    except OSError:  # too many open files, for example, which says nothing
        return False
    return False


def _is_reached(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _GRACE).close()
    except OSError:
        return False
    return True
