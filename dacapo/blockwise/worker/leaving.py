"""Ending a worker before all blocks are done, because its job ends: its block is handed back for another worker.

Batch systems send SIGTERM, or LSF SIGUSR2, some time before they kill a job.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType

import attrs
import daisy.v2 as daisy

from dacapo.store.files import paths_named
from dacapo.utils.signals import heard, interrupt_main_thread

logger = logging.getLogger(__name__)

LEFT = os.EX_TEMPFAIL
"""Exit code of a worker that left."""
LEAVING_SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
"""Signals after which a worker leaves."""
_OUT_OF_TIME = "the time of its job is nearly over"
_HANDED_BACK = "handed_back_"
# Seconds in which a worker without a block leaves by itself, unless it waits for one.
_PATIENCE = 2.0


class JobEnds(BaseException):
    """Interrupts a block, since the job of the worker ends."""


@attrs.define
class Leaving:
    """Whether a worker has to leave, and its block in progress.

    Attributes:
        log_dir: Folder for notes of blocks that are handed back; None for none.
        end: Time by which the worker is to be gone, in seconds since 1970; None if it is unknown.
        reason: Why it has to leave; empty as long as it need not.
    """

    log_dir: Path | None = None
    end: float | None = None
    reason: str = ""
    _block: daisy.Block | None = attrs.field(default=None, init=False)
    _blocks: int = attrs.field(default=0, init=False)
    _longest: float = attrs.field(default=0.0, init=False)
    _is_interrupted: bool = attrs.field(default=False, init=False)
    _is_told: bool = attrs.field(default=False, init=False)
    _has_logged: bool = attrs.field(default=False, init=False)

    @property
    def is_due(self) -> bool:
        """Whether to leave instead of asking for a block: when told to, or if a long block would take too long."""
        if not self.reason and self.end is not None and time.time() + self._longest > self.end:
            self.reason = _OUT_OF_TIME
        return bool(self.reason)

    @contextmanager
    def interrupts(self, block: daisy.Block) -> Iterator[None]:
        """Let a block in progress be interrupted.

        Raises:
            JobEnds: If the worker has to leave now.
        """
        begun, self._block = time.monotonic(), block
        try:
            if self.reason:  # it came while the worker waited for this block
                raise JobEnds
            yield
        finally:
            self._block = None
        self._blocks += 1
        self._longest = max(self._longest, time.monotonic() - begun)

    def hand_back(self, block: daisy.Block) -> None:
        """Hand a block back to be done by another worker."""
        block.status, self._block = daisy.BlockStatus.FAILED, None
        self.reason = self.reason or "it was interrupted"
        self._note(block)
        self._log(f"block {block.write_roi} is handed back")

    def leave(self) -> None:
        """End the process if the worker has to leave.

        Raises:
            SystemExit: With the code :data:`LEFT`.
        """
        if self.reason:
            self._log("it ends")
            raise SystemExit(LEFT)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Listen to signals, and to the clock."""
        over = threading.Event()
        with heard(LEAVING_SIGNALS, self._interrupt, partial(self._prepare, over)), self._clock():
            try:
                yield
            finally:
                over.set()

    @contextmanager
    def _clock(self) -> Iterator[None]:
        """Interrupt the worker when its time is over."""
        if self.end is None:
            yield
            return
        clock = threading.Timer(max(0.0, self.end - time.time()), self._time_is_over)
        clock.daemon = True
        clock.start()
        try:
            yield
        finally:
            clock.cancel()
            clock.join()

    def _time_is_over(self) -> None:
        self.reason = _OUT_OF_TIME
        interrupt_main_thread(signal.SIGTERM)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.reason = self.reason or f"it got {signal.Signals(number).name}"
        if self._block is not None and not self._is_interrupted:
            self._is_interrupted = True
            raise JobEnds

    def _prepare(self, over: threading.Event, number: int) -> None:
        """Do what cannot wait for the main thread."""
        if (block := self._block) is not None:
            self._note(block)
            if not self._is_interrupted and not self._is_told:
                self._is_told = True
                interrupt_main_thread(number)
            return
        if not over.wait(_PATIENCE) and self._block is None:  # Daisy waits for a block without listening to signals
            self._log("it ends")
            os._exit(LEFT)

    def _note(self, block: daisy.Block) -> None:
        if self.log_dir is not None:
            with suppress(OSError):  # the block then counts as failed once more
                (self.log_dir / f"{_HANDED_BACK}{block.block_id[1]}").touch()

    def _log(self, what: str) -> None:
        if not self._has_logged:
            self._has_logged = True
            logger.info("%s, so %s; %d blocks were done here", self.reason, what, self._blocks)


def blocks_handed_back(log_dir: Path) -> set[int]:
    """Return the numbers of the blocks that were handed back, and forget them."""
    files = paths_named(log_dir, f"{_HANDED_BACK}*")
    for file in files:
        file.unlink(missing_ok=True)
    return {int(file.name.removeprefix(_HANDED_BACK)) for file in files}
