"""Starting the worker processes of a task."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import daisy.v2 as daisy

from dacapo.blockwise.worker.job import JOB_VARIABLE, Job, write_job
from dacapo.blockwise.worker.lifetime import end_with, is_over
from dacapo.blockwise.worker.loop import hand_back_one_block
from dacapo.blockwise.worker.place import taken_place
from dacapo.blockwise.worker.replacing import Replacing
from dacapo.blockwise.worker.reports import START_ERROR, log_file, report_stop
from dacapo.compute_context import ComputeContext
from dacapo.errors import BlockwiseError
from dacapo.options import Options
from dacapo.store.files import is_file

if TYPE_CHECKING:
    from dacapo.blockwise.worker.call import WorkerCall

WORKER_COMMAND = [sys.executable, "-m", "dacapo.blockwise"]
_LOGS = "dacapo_logs"


@attrs.frozen
class WorkerStarter:
    """Starts a worker, waits until it ends, and starts those that replace it; Daisy calls it in a small process.

    Attributes:
        compute_context: Where the worker runs.
        job: Its job, as text.
        log_dir: Folder for its log.
        python_path: Where it looks for modules.
        num_threads: How many threads it may use, None if it may choose.
        in_a_row: How many workers are replaced during which no block is done, after one during which some were.
        spawn: Starts the worker instead, if its module has a function of its own for that.
        parent: The process that hands out the blocks; the worker ends when that does.
    """

    compute_context: ComputeContext
    job: str
    log_dir: Path
    python_path: str
    num_threads: int | None
    in_a_row: int = 0
    spawn: WorkerCall | None = None
    parent: int = attrs.field(factory=os.getpid)

    def __call__(self, *, context: daisy.Context) -> None:
        worker = int(context["worker_id"])
        self.log_dir.mkdir(parents=True, exist_ok=True)
        replacing = Replacing(self.log_dir, worker, self.in_a_row)
        # Errors are caught here, since Daisy writes those that it sees to the terminal, for each worker.
        try:
            with end_with(self.parent, context):
                while not self._is_stopped():  # or this worker would end like the one before
                    replacing.begin()
                    try:
                        self._start(worker)
                        break
                    except (BlockwiseError, OSError) as error:
                        if not replacing.is_due(error) or is_over(context):
                            break
                    replacing.wait()
        except KeyboardInterrupt:
            return  # the scheduling process got it, too
        if self._is_stopped():
            hand_back_one_block()

    def _is_stopped(self) -> bool:
        return is_file(self.log_dir / START_ERROR)

    def _start(self, worker: int) -> None:
        environment = {JOB_VARIABLE: str(self._write_job()), "PYTHONPATH": self.python_path, **self._threads()}
        place = taken_place(self.log_dir, worker) if self.compute_context.local_cores else nullcontext((worker, ()))
        with place as (number, lock):
            environment |= self.compute_context.worker_environment(number)
            if self.spawn is not None:
                os.environ.update(environment)
                Options.instance(**Job.from_json(self.job).options)
                self.spawn.start()
                return
            self.compute_context.execute(
                WORKER_COMMAND,
                log_file(self.log_dir, worker),
                environment,
                **({"keep_open": lock} if lock else {}),
            )

    def _threads(self) -> dict[str, str]:
        if self.num_threads is None:
            return {}
        asked = os.environ.get("OMP_NUM_THREADS", "")
        most = int(asked) if asked.isdigit() and int(asked) > 0 else self.num_threads
        return {"OMP_NUM_THREADS": str(min(most, self.num_threads))}

    def _write_job(self) -> Path:
        try:
            return write_job(self.job, self.log_dir)
        except OSError as error:
            report_stop(self.log_dir, f"the job of the workers cannot be written to {self.log_dir}", error)
            raise


def log_base(compute_context: ComputeContext, log_dir: Path | str | None) -> Path:
    """Return the folder for the logs of tasks: the one that the user named, or one that the workers see."""
    if log_dir is not None:
        return Path(log_dir).resolve()
    # Other machines do not see the folder for temporary files of this one.
    return Path.cwd() / _LOGS if compute_context.local_cores is None else Path(tempfile.gettempdir())


def search_path() -> str:
    """Return where this process looks for modules, for ``PYTHONPATH``."""
    return os.pathsep.join(path for path in sys.path if path)
