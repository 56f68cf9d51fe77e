"""Using the slots of a pool for the workers of a task, in the small processes in which Daisy starts these."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from dacapo.blockwise.worker.place import locked_file
from dacapo.blockwise.worker.slot import Order, Slot, pauses
from dacapo.errors import BlockwiseError

_LONGEST_PAUSE = 0.5
_TAIL = 30


@attrs.frozen
class HeldSlot:
    """A slot, and the process that holds it, as seen on the machine of that process.

    Attributes:
        slot: The slot.
        pid: Number of the process.
        life: File that the process locks as long as it lives.
        use: File that is locked by whoever gives orders.
    """

    slot: Slot
    pid: int
    life: Path
    use: Path

    @property
    def is_held(self) -> bool:
        """Whether the process lives."""
        handle = locked_file(self.life)
        if handle is not None:
            handle.close()
        return handle is None

    def do(self, job: Path, context: str, log: Path, threads: str) -> None:
        """Let the worker of the slot do a job, and wait until it has.

        Args:
            job: File with the job.
            context: Daisy's context of the worker, as text.
            log: File that the output of the worker is appended to.
            threads: Number of threads that it may use; empty to keep that with which it was started.

        Raises:
            BlockwiseError: If the worker ends before; the message ends with its last output.
        """
        log.touch()
        begin = log.stat().st_size
        order = Order(self.slot.order.number + 1, str(job), context, str(log), threads)
        self.slot.put(order)
        try:
            self._wait(order, log, begin)
        except BlockwiseError:
            raise
        except BaseException:
            self._take_back(order)
            raise

    def _wait(self, order: Order, log: Path, begin: int) -> None:
        for _ in pauses(_LONGEST_PAUSE):
            end = self.slot.end
            if self.slot.state.is_done(order) or (end.number == order.number and not end.error):
                return
            if end.number == order.number:
                error = BlockwiseError(end.error + _tail(log, begin))
                error.exit_code = end.exit_code
                raise error
            if not self.is_held:
                raise BlockwiseError(f"the process that starts workers in {self.slot.log} has ended")

    def _take_back(self, order: Order) -> None:
        """Take an order back, since nobody waits for it: a worker that has not begun it is kept for the next one."""
        state = self.slot.state
        if state.what == "begun" and state.number == order.number:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            while self.is_held:  # or the next pass would count on it
                time.sleep(_LONGEST_PAUSE)
        else:
            with suppress(OSError):
                self.slot.put(Order(order.number + 1))


@contextmanager
def leased(slots: Sequence[HeldSlot]) -> Iterator[HeldSlot]:
    """Take a slot that no other worker of the task has, wait for one if necessary, and release it afterwards.

    Raises:
        BlockwiseError: If nobody holds the slots any more.
    """
    while any(slot.is_held for slot in slots):
        for slot in slots:
            if slot.is_held and (handle := locked_file(slot.use)) is not None:
                with handle:
                    yield slot
                return
        time.sleep(_LONGEST_PAUSE)  # the worker before this one is about to end
    raise BlockwiseError("the processes that start workers have ended")


def _tail(log: Path, begin: int) -> str:
    """Return the last lines of a log, from a byte on."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").splitlines(keepends=True)
    return "".join(lines[-_TAIL:])
