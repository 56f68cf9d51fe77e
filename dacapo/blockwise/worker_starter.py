"""Starting a worker process, and telling it which GPU is free."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import attrs
import daisy.v2 as daisy

from dacapo.blockwise.jobs import JOB_VARIABLE, Job, write_job
from dacapo.blockwise.reports import START_ERROR, log_file, report_death, report_stop
from dacapo.blockwise.worker import give_one_back
from dacapo.compute_context import ComputeContext
from dacapo.errors import BlockwiseError
from dacapo.options import Options

if TYPE_CHECKING:
    from dacapo.blockwise.worker_call import WorkerCall

_LOGS = "dacapo_logs"
PLACE = "place_"
"""How the names of the files begin that living workers lock."""
# Of prctl: the signal that a process gets when its parent ends.
_SET_DEATH_SIGNAL = 1


@attrs.frozen
class WorkerStarter:
    """Starts a worker and waits for its end; Daisy calls it in a small process for each worker.

    Attributes:
        compute_context: Where the worker runs.
        job: What it does, as text.
        log_dir: Folder for the log of the worker.
        python_path: Where modules are looked for.
        num_threads: How many threads it may use, None if it may choose.
        spawn: Starts the worker instead, if its module has a function of its own for that.
        parent: The process that hands out the blocks; the worker ends when that does.
    """

    compute_context: ComputeContext
    job: str
    log_dir: Path
    python_path: str
    num_threads: int | None
    spawn: WorkerCall | None = None
    parent: int = attrs.field(factory=os.getpid)

    def __call__(self, *, context: daisy.Context) -> None:
        worker = int(context["worker_id"])
        self.log_dir.mkdir(parents=True, exist_ok=True)
        # What is raised here Daisy writes to the terminal, for each worker.
        try:
            if not self._is_over():  # or this one would end like the one before
                self._work(worker)
        except (BlockwiseError, OSError) as error:
            report_death(self.log_dir, worker, error)
        except KeyboardInterrupt:
            return  # the process that hands out the blocks got that too
        if self._is_over():
            give_one_back()

    def _is_over(self) -> bool:
        return (self.log_dir / START_ERROR).exists()

    def _work(self, worker: int) -> None:
        environment = {JOB_VARIABLE: str(self._write_job()), "PYTHONPATH": self.python_path}
        if self.num_threads is not None:
            asked = os.environ.get("OMP_NUM_THREADS", "")
            fewer = int(asked) if asked.isdigit() and int(asked) > 0 else self.num_threads
            environment["OMP_NUM_THREADS"] = str(min(fewer, self.num_threads))
        place = taken_place(self.log_dir, worker) if self.compute_context.local_cores else nullcontext((worker, ()))
        with ends_with(self.parent), place as (number, lock):
            environment |= self.compute_context.worker_environment(number)
            if self.spawn is not None:
                os.environ.update(environment)
                Options.instance(**Job.from_json(self.job).options)
                self.spawn.start()
                return
            self.compute_context.execute(
                [sys.executable, "-m", "dacapo.blockwise"],
                log_file(self.log_dir, worker),
                environment,
                **({"keep_open": lock} if lock else {}),
            )

    def _write_job(self) -> Path:
        try:
            return write_job(self.job, self.log_dir)
        except OSError as error:
            report_stop(self.log_dir, f"what workers do cannot be written to {self.log_dir}", error)
            raise


def log_base(compute_context: ComputeContext, log_dir: Path | str | None) -> Path:
    """Return the folder for the logs of tasks: one that was asked for, or one that the workers see."""
    if log_dir is not None:
        return Path(log_dir).resolve()
    # Other machines do not see this one's folder for temporary files.
    return Path.cwd() / _LOGS if compute_context.local_cores is None else Path(tempfile.gettempdir())


@contextmanager
def taken_place(log_dir: Path, worker: int) -> Iterator[tuple[int, Sequence[int]]]:
    """Take the lowest number, from 0 on, that no living worker of the task has; others may take it afterwards.

    The numbers that Daisy gives do not tell how many workers there are: it never uses that of a dead one again.

    Args:
        log_dir: Folder of the files that are locked.
        worker: What Daisy calls the worker; its number if the file system has no locks.

    Yields:
        The number, and the descriptor of the locked file: the number is taken until all processes that have it ended.
    """
    taken = None
    with suppress(OSError):
        taken = _lock_place(log_dir)
    if taken is None:
        yield worker, ()
        return
    number, handle = taken
    with handle:
        yield number, (handle.fileno(),)


def _lock_place(log_dir: Path) -> tuple[int, BinaryIO]:
    import fcntl

    number = 0
    while True:
        handle = (log_dir / f"{PLACE}{number}").open("wb")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            number += 1
        else:
            return number, handle


@contextmanager
def ends_with(parent: int) -> Iterator[None]:
    """Leave the context, with an exception, when the parent of this process ends, even if it is killed.

    What it waits for is ended then, so that no worker writes blocks that somebody else does again.
    """

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        if sys.platform == "linux":
            import ctypes

            ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)
        if os.getppid() != parent and os.getpid() != parent:
            leave()
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
