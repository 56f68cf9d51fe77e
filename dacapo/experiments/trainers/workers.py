"""Worker processes that make batches, and the errors of those that die."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
import threading
import weakref
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import torch.utils.data

from dacapo.errors import BatchError
from dacapo.experiments.datasplits.datasets.arrays import Array

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets import Dataset

T = TypeVar("T")

# The usual cause of a signal that nobody sent on purpose.
LIKELY_CAUSES = {
    signal.SIGKILL: "memory usually ran out, and the system killed it; lower num_data_fetchers, the batch size or the "
    "input shape, or allow the job more memory",
    signal.SIGBUS: "shared memory (/dev/shm) usually ran out; allow the job more of it, or set num_data_fetchers to 1",
    signal.SIGSEGV: "a library that reads the data crashed; set num_data_fetchers to 1 to see whether it also crashes "
    "in the training process",
    signal.SIGTERM: "something outside of the training terminated it",
}
NOT_STARTED = (
    "if it could not start, call the training below `if __name__ == '__main__':`, or set num_data_fetchers to 1; its "
    "own message is above"
)
# Seconds that the system may take to release the memory of a process that has ended.
LONGEST_END = 30


def can_be_forked(datasets: Sequence[Dataset]) -> bool:
    """Return whether forked processes can read datasets.

    TensorStore uses threads, which a forked process does not have; it aborts the process.
    """
    arrays = [array for dataset in datasets for array in (dataset.raw, dataset.gt, dataset.mask)]
    return not any(map(_uses_tensorstore, arrays))


def _uses_tensorstore(value: Any) -> bool:
    """Return whether TensorStore reads an array, or one that it is made from."""
    if type(value).__module__.partition(".")[0] == "tensorstore" or getattr(value, "uses_tensorstore", False):
        return True
    if isinstance(value, Array):
        value = vars(value)
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, list | tuple) and any(map(_uses_tensorstore, value))


class WorkerIterator(Generic[T]):
    """Iterate over a loader with worker processes, which end when this is deleted or raises an exception.

    A dead worker raises an error when an item is requested, and at no other time. Torch alone would raise it wherever
    the main thread is, even in the middle of an optimizer step, which would leave the weights half changed.
    """

    def __init__(self, loader: torch.utils.data.DataLoader[T]) -> None:
        """Start the workers of a loader."""
        before = set(multiprocessing.active_children())
        self._items: Iterator[T] = iter(loader)
        self._workers = [p for p in multiprocessing.active_children() if p not in before]
        _DeferredSigchld.install()
        _living.add(self)

    def close(self) -> None:
        """End the workers."""
        self._items = iter(())  # the iterator of the loader ends them when it is deleted

    def __iter__(self) -> Iterator[T]:
        """Return this iterator."""
        return self

    def __next__(self) -> T:
        """Return the next item.

        Raises:
            BatchError: If a worker has died; the message says which one, and why.
        """
        try:
            self._check()
            with _RaisesSigchld():
                return next(self._items)
        except Exception:
            # If a worker dies while it sends an item, the first error is about a connection or a file.
            self._await_a_death()
            try:
                # A worker whose stream has raised ends as usual; its exception is more specific then.
                self._check(ended_well=False)
            finally:
                self._kill()
            raise

    def _await_a_death(self) -> None:
        """Wait a second for a worker to end, and until its exit status is known."""
        ready = wait([worker.sentinel for worker in self._workers], timeout=1)
        for worker in self._workers:
            if worker.sentinel in ready:
                # The system closes the files of a process, and with them its sentinel, before it has an exit status.
                worker.join(LONGEST_END)

    def _check(self, ended_well: bool = True) -> None:
        codes = {None} if ended_well else {None, 0}
        dead = [worker for worker in self._workers if worker.exitcode not in codes]
        if dead:
            raise BatchError("; ".join(map(cause_of_death, dead)))

    def _kill(self) -> None:
        """Kill all workers: they may wait forever for a lock of a dead one."""
        for worker in self._workers:
            worker.kill()


_living: weakref.WeakSet[WorkerIterator[Any]] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """End the workers of a trainer that was never left, such as that of a failed test.

    Functions that are registered last are called first. Python itself would terminate the workers later on, and leave
    the files of their sockets behind.
    """
    for iterator in list(_living):
        iterator.close()


def cause_of_death(worker: BaseProcess) -> str:
    """Return a sentence about a worker that has ended unexpectedly."""
    who, code = f"worker process {worker.pid}", worker.exitcode or 0
    if code >= 0:
        return f"{who} ended with exit status {code}; {NOT_STARTED}"
    try:
        number = signal.Signals(-code)
    except ValueError:  # signals without a name
        return f"{who} was killed by signal {-code}"
    cause = LIKELY_CAUSES.get(number)
    return f"{who} was killed by {number.name} (signal {-code})" + (f": {cause}" if cause else "")


class _DeferredSigchld:
    """A handler of SIGCHLD that lets torch's handler raise only while the main thread waits for a batch."""

    waiting: ClassVar[bool] = False

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        try:
            self._handler(number, frame)
        except RuntimeError:
            # Otherwise the next request for a batch finds out.
            if _DeferredSigchld.waiting:
                raise

    @classmethod
    def install(cls) -> None:
        """Wrap the handler that torch has set, if this is the main thread."""
        handler = signal.getsignal(signal.SIGCHLD)
        if _in_main_thread() and callable(handler) and not isinstance(handler, cls):
            signal.signal(signal.SIGCHLD, cls(handler))


class _RaisesSigchld:
    """A context in which a death is raised at once, if this is the main thread.

    A class, because a signal may arrive while a generator is being entered.
    """

    def __enter__(self) -> None:
        if _in_main_thread():
            _DeferredSigchld.waiting = True

    def __exit__(self, *exc: object) -> None:
        if _in_main_thread():
            _DeferredSigchld.waiting = False


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
