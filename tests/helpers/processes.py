"""Starting processes, waiting for them, and limits on them."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

PATIENCE = 600
"""Seconds after which a test takes what it waits for to hang; on a busy machine a process starts within minutes."""


class Started(subprocess.Popen[str]):
    """A process in a group of its own, which is killed at the end of a ``with`` block if it still runs."""

    def __init__(self, command: Sequence[object], **options: Any) -> None:
        super().__init__(list(map(str, command)), stderr=subprocess.PIPE, text=True, start_new_session=True, **options)

    def __exit__(self, *error: Any) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        super().__exit__(*error)


def free_port() -> int:
    """Return a port to listen on that no other process chooses, nor the system for its connections."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return several such ports."""
    found: list[int] = []
    with ExitStack() as stack:
        for port in range(20_000 + os.getpid() % 1000 * 10, 32_000):
            with suppress(OSError):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == count:
                return found
    raise AssertionError("all ports are taken")


def killed(work: Callable[[], object]) -> bool:
    """Run work in another process, which kills itself by ``os._exit(9)``, and return whether it did."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def dying_at(moment: int, functions: Sequence[tuple[Any, str]]) -> None:
    """Let this process die at one of its calls of some functions, instead of that call.

    Args:
        moment: The number of the call, from 0 on, over all of the functions.
        functions: Each as its owner and its name.
    """
    left = iter(range(moment))

    def replaced(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return os._exit(9) if next(left, None) is None else real(*args, **kwargs)

        return call

    for owner, name in functions:
        setattr(owner, name, replaced(getattr(owner, name)))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let writes beyond a size fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE, interval: float = 0.02) -> None:
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

    wait_until(stored, interval=0.005)
