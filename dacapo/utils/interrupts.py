"""Stop at a safe point when the user presses Ctrl-C."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from dacapo.utils import distributed

logger = logging.getLogger(__name__)


class SafeStop:
    """While active, the first Ctrl-C (or SIGTERM) only requests a stop; the second one interrupts at once.

    Use as a context manager and check :attr:`requested` where stopping is safe. Outside the main thread signals cannot
    be handled, and nothing changes.

    Attributes:
        requested: Whether a stop was requested.
        work: The work to finish before stopping, for the message after the first Ctrl-C.
    """

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
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if distributed.is_main():
            logger.warning("stopping as soon as %s is done; press Ctrl-C again to stop at once", self.work)
