"""Batches that other processes make, and what is said of a process that died."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, Generic, TypeVar

import torch.utils.data

from dacapo.errors import BatchError

T = TypeVar("T")

# What usually ends a process with a signal that nobody sent on purpose.
LIKELY_CAUSES = {
    signal.SIGKILL: "memory usually ran out, and the system killed it; lower num_data_fetchers, the batch size or the "
    "input shape, or allow the job more memory",
    signal.SIGBUS: "shared memory (/dev/shm) usually ran out; allow the job more of it, or set num_data_fetchers to 1",
    signal.SIGSEGV: "a library that reads the data crashed; set num_data_fetchers to 1 to see whether it also does "
    "in the process that trains",
    signal.SIGTERM: "something outside of the training asked it to end",
}
NOT_STARTED = (
    "if it could not start, call the training below `if __name__ == '__main__':`, or set num_data_fetchers to 1; its "
    "own message is above"
)
# Seconds that the system may take to release the memory of a process that has ended.
LONGEST_END = 30


class FetchedBatches(Generic[T]):
    """The items of a loader with processes of its own, which end when this is deleted or has raised something.

    A process that died is noticed where an item is asked for, and nowhere else. Torch by itself raises it wherever the
    main thread is, also in the middle of a step of the optimizer, which would leave weights half changed.
    """

    def __init__(self, loader: torch.utils.data.DataLoader[T]) -> None:
        """Start the processes of a loader."""
        before = set(multiprocessing.active_children())
        self._items: Iterator[T] = iter(loader)
        self._processes = [p for p in multiprocessing.active_children() if p not in before]
        _DeadChildren.install()

    def __iter__(self) -> Iterator[T]:
        """Return this iterator."""
        return self

    def __next__(self) -> T:
        """Return the next item.

        Raises:
            BatchError: If a process has died; the message says which one, and why.
        """
        try:
            self._check()
            with _DeadChildren.told():
                return next(self._items)
        except Exception:
            # Where a process dies while it hands something on, what is raised first is about a connection or a file.
            self._await_a_death()
            try:
                # A process whose stream has raised ends as usual; then the exception says more.
                self._check(ended_well=False)
            finally:
                self._end()
            raise

    def _await_a_death(self) -> None:
        """Wait a second for a process to end, and until its exit status is known."""
        ready = wait([process.sentinel for process in self._processes], timeout=1)
        for process in self._processes:
            if process.sentinel in ready:
                # The system closes the files of a process, and so its sentinel, before the parent can ask how it ended.
                process.join(LONGEST_END)

    def _check(self, ended_well: bool = True) -> None:
        codes = {None} if ended_well else {None, 0}
        dead = [process for process in self._processes if process.exitcode not in codes]
        if dead:
            raise BatchError("; ".join(map(how_it_died, dead)))

    def _end(self) -> None:
        """End all processes at once: they may wait for ever for what a dead one has locked."""
        for process in self._processes:
            process.kill()


def how_it_died(process: BaseProcess) -> str:
    """Return a sentence about a process that has ended, though it should not have."""
    who, code = f"process {process.pid}, which makes batches,", process.exitcode or 0
    if code >= 0:
        return f"{who} ended with exit status {code}; {NOT_STARTED}"
    try:
        number = signal.Signals(-code)
    except ValueError:  # signals without a name
        return f"{who} was killed by signal {-code}"
    cause = LIKELY_CAUSES.get(number)
    return f"{who} was killed by {number.name} (signal {-code})" + (f": {cause}" if cause else "")


class _DeadChildren:
    """A handler of SIGCHLD that lets torch's own raise errors only where the main thread waits for a batch."""

    waiting = False

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        try:
            self._handler(number, frame)
        except RuntimeError:
            # Otherwise the next one to ask for a batch finds out.
            if _DeadChildren.waiting:
                raise

    @classmethod
    def install(cls) -> None:
        """Put this around the handler that torch has set; nothing is done outside of the main thread."""
        handler = signal.getsignal(signal.SIGCHLD)
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and callable(handler) and not isinstance(handler, cls):
            signal.signal(signal.SIGCHLD, cls(handler))

    @classmethod
    def told(cls) -> _Waiting:
        """Return a context in which a death is raised at once, if this is the main thread."""
        return _Waiting(threading.current_thread() is threading.main_thread())


class _Waiting:
    """See `_DeadChildren.told`; a class, because a signal may come while a generator is being entered."""

    def __init__(self, in_main: bool) -> None:
        self._in_main = in_main

    def __enter__(self) -> None:
        if self._in_main:
            _DeadChildren.waiting = True

    def __exit__(self, *exc: object) -> None:
        if self._in_main:
            _DeadChildren.waiting = False
