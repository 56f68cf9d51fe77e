"""Stop at a safe point, or at once, when the user presses Ctrl-C or the system ends the process."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, ClassVar

import attrs

from dacapo.utils import distributed
from dacapo.utils.signals import heard, interrupt_main_thread

logger = logging.getLogger(__name__)


@attrs.define
class Termination:
    """Which SIGTERMs arrived in an :func:`interrupted_by_sigterm`, and who took them."""

    _known: int = 0
    _passed_on: int = 0
    _taken_before: int = attrs.field(factory=lambda: SafeStop.sigterms_taken)

    @property
    def arrived(self) -> bool:
        """Whether SIGTERM interrupted the work, at once or at a safe point."""
        return self._passed_on + self._taken > 0

    @property
    def _taken(self) -> int:
        return SafeStop.sigterms_taken - self._taken_before

    def is_ours(self) -> bool:
        """Note a SIGTERM, and return whether it is to be passed on as Ctrl-C.

        The watcher may be told late, when the :class:`SafeStop` that took the signal has ended. The numbers then show
        that it was taken.
        """
        handler = signal.getsignal(signal.SIGTERM)
        waits = handler is _left_to_watcher
        if waits or isinstance(getattr(handler, "__self__", None), SafeStop):
            self._known += 1
        ours = waits and self._known > self._taken + self._passed_on
        self._passed_on += ours
        return ours


@contextmanager
def interrupted_by_sigterm() -> Iterator[Termination]:
    """Let SIGTERM interrupt this process as Ctrl-C does, and end its child processes.

    Locks are thus released and temporary files deleted. Handlers that other code installs in the meantime take
    precedence. Has no effect outside the main thread.

    Yields:
        Whether the signal arrived, to tell it from Ctrl-C.
    """
    state = Termination()
    if threading.current_thread() is not threading.main_thread():
        yield state
        return
    # A handler runs only once the main thread returns to Python, and a scheduler of blocks keeps it from that.
    with heard((signal.SIGTERM,), _left_to_watcher, partial(_pass_on, state)):
        yield state


def _left_to_watcher(number: int, frame: FrameType | None) -> None:
    """Leave SIGTERM to the watcher, which Python tells too, unless shells let this process ignore Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt


def _pass_on(state: Termination, number: int) -> None:
    """Pass a SIGTERM on as Ctrl-C, to child processes too."""
    if state.is_ours():
        interrupt_main_thread(signal.SIGINT)
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        for child in _children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM if ignored else signal.SIGINT)


def _children() -> list[int]:
    """Return the ids of the child processes; none where the system does not list them."""
    return [int(child) for file in Path("/proc/self/task").glob("*/children") for child in file.read_text().split()]


class SafeStop:
    """While active, the first Ctrl-C (or SIGTERM) only requests a stop; a second Ctrl-C interrupts at once.

    More SIGTERMs change nothing: Slurm sends two when the time of a job is over, and launchers pass on those that all
    processes of a job have got.

    Use as a context manager and check :attr:`requested` where stopping is safe. Outside the main thread signals cannot
    be handled, and nothing changes.

    Attributes:
        requested: Whether a stop was requested.
        work: The work to finish before stopping, for the message after the first Ctrl-C.
        sigterms_taken: The number of SIGTERMs that all objects of this class have answered in this process.
    """

    sigterms_taken: ClassVar[int] = 0

    def __init__(self, work: str = "the iteration") -> None:
        self.requested = False
        self.work = work
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> SafeStop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    @contextmanager
    def during(self, work: str) -> Iterator[None]:
        """Announce other work to finish before stopping, inside a ``with`` block."""
        before, self.work = self.work, work
        try:
            yield
        finally:
            self.work = before

    def _handle(self, number: int, frame: FrameType | None) -> None:
        SafeStop.sigterms_taken += number == signal.SIGTERM
        if self.requested:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.requested = True
        if distributed.is_main():
            logger.warning("stopping as soon as %s is done; press Ctrl-C again to stop at once", self.work)
