"""The process that holds a slot of a pool: it starts a worker whenever there is an order and none runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

import attrs
import cloudpickle

from dacapo.blockwise.worker.job import JOB_VARIABLE, WORKER_COMMAND
from dacapo.blockwise.worker.lifetime import end_with
from dacapo.blockwise.worker.slot import End, Order, Slot, State, pauses
from dacapo.compute_context import ComputeContext
from dacapo.errors import BlockwiseError

_COMMAND = [sys.executable, "-c", "from dacapo.blockwise.worker.holder import main; main()"]
_LONGEST_PAUSE = 0.2


@attrs.frozen
class Holder:
    """Holds a slot until its last order, or until the process that opened the pool ends.

    Attributes:
        compute_context: Where the worker runs.
        slot: The slot.
        environment: Variables to set for the worker.
        parent: The process that opened the pool.
    """

    compute_context: ComputeContext
    slot: Slot
    environment: dict[str, str]
    parent: int = attrs.field(factory=os.getpid)

    def start(self, python_path: str, keep_open: Sequence[int]) -> subprocess.Popen[bytes]:
        """Start the process.

        Args:
            python_path: Where it looks for modules.
            keep_open: File descriptors that it holds as long as it lives.
        """
        with (self.slot.folder / f"holder_{self.slot.number}.log").open("ab") as log:
            process = subprocess.Popen(
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": python_path},
                pass_fds=tuple(keep_open),
            )
        assert process.stdin is not None
        with process.stdin as pipe:
            pipe.write(cloudpickle.dumps(self))
        return process

    def hold(self) -> None:
        """Start workers, one after the other."""
        handled = 0
        with end_with(self.parent):
            while (order := self._next_order(handled)) is not None:
                handled = self._run_worker(order)

    def _next_order(self, handled: int) -> Order | None:
        for _ in pauses(_LONGEST_PAUSE):
            order = self.slot.order
            if order.is_last:
                break
            if order.number > handled and order.job:
                return order
        return None

    def _run_worker(self, order: Order) -> int:
        """Run a worker until it ends; return the number of the last order that needs no worker any more."""
        end = End(exit_code=0)
        self.slot.put(State("starting", order.number - 1))
        try:
            self.compute_context.execute(
                WORKER_COMMAND, self.slot.log, {**self.environment, JOB_VARIABLE: str(self.slot.file)}
            )
        except (BlockwiseError, OSError) as error:
            end = End(exit_code=error.exit_code if isinstance(error, BlockwiseError) else None, error=str(error))
        state = self.slot.state
        if state.what == "done":  # it ended while it waited; if an order came at this moment, another worker does it
            return state.number
        number = state.number if state.what == "begun" else order.number
        self.slot.put(attrs.evolve(end, number=number))
        return number


def main() -> None:
    """Hold the slot that the standard input describes."""
    holder = cloudpickle.load(sys.stdin.buffer)
    with suppress(KeyboardInterrupt):  # the process that opened the pool got it, too
        holder.hold()
