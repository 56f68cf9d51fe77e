"""Forked processes that work and report, and that the parent can wait for or kill."""

from __future__ import annotations

import json
import os
import select
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from . import preload  # noqa: F401  # so that forked processes need not


@attrs.define
class Child:
    """A forked process, and the pipe with what it reports."""

    pid: int
    pipe: int
    text: str = ""

    def wait(self, seconds: float) -> bool:
        """Read reports until the process ends, at most for some time; return whether it ended."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.pipe], [], [], left)[0]:
                content = os.read(self.pipe, 1 << 16)
                if not content:
                    return True
                self.text += content.decode()
        return False

    def end(self, number: int | None = None) -> int:
        """Send a signal, read the rest, and return the exit code."""
        if number is not None:
            os.kill(self.pid, number)
        self.wait(600)
        os.close(self.pipe)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")[:-1]


def start(work: Callable[[Callable[[str], None]], object], log: Path) -> Child:
    """Do work in a forked process, which gets a function that reports a line."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Child(pid, reading)
    code = 1
    try:
        os.setpgid(0, 0)
        os.close(reading)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        work(lambda line: void(os.write(writing, f"{line}\n".encode())))
        code = 0
    except BaseException:  # noqa: BLE001  # it is written to the log, and the exit code tells
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def void(_: object) -> None:
    """Return nothing."""


def in_child(work: Callable[[], Any], log: Path) -> Any:
    """Return what a function returns in a forked process, as JSON holds it.

    Raises:
        AssertionError: If it raised.
    """
    child = start(lambda tell: tell(json.dumps(work())), log)
    if child.end() != 0:
        raise AssertionError(log.read_text()[-3000:])
    return json.loads(child.lines[-1])
