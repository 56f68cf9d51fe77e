"""A Daisy task whose workers are processes that the compute context starts."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import daisy.v2 as daisy
from funlib.geometry import Roi

from dacapo.blockwise.scheduling.in_process import InProcess
from dacapo.blockwise.worker.call import WorkerCall
from dacapo.blockwise.worker.job import JOB_FILE, Job
from dacapo.blockwise.worker.leaving import blocks_handed_back
from dacapo.blockwise.worker.place import PLACE
from dacapo.blockwise.worker.progress import progress_files
from dacapo.blockwise.worker.reports import RESERVE
from dacapo.blockwise.worker.starter import WorkerStarter, log_base, search_path
from dacapo.blockwise.worker.user_modules import ProcessBlock
from dacapo.compute_context import ComputeContext, Execution, create_compute_context
from dacapo.errors import ConfigError
from dacapo.options import Options
from dacapo.store.files import paths_named, remove_file
from dacapo.utils.blocks import BlockGrid, written_region

# Daisy requires a limit; ten years are as good as none.
_NO_LIMIT = 10 * 365 * 86400.0
# Seconds after which Daisy gives up a worker that should have killed itself, since its machine may be gone.
_GRACE = 60.0


class DaCapoBlockwiseTask(daisy.Task):  # type: ignore[misc]  # Daisy has no types
    """A Daisy task that runs a worker module, see :mod:`dacapo.blockwise`.

    Making one runs and writes nothing.

    Args:
        worker_file: A Python file, or the import path of a module.
        total_roi: The region that blocks read, in world units. The region that they write is smaller by the
            context of a block.
        read_roi: The region that a block reads, relative to any origin.
        write_roi: The region that it writes, relative to the same origin and inside ``read_roi``.
        num_workers: Number of workers at most.
        max_retries: How often a failed block is tried again.
        timeout: Seconds that a block may take before its worker is killed, which counts as a failure of the block; no
            limit by default.
        upstream_tasks: Tasks whose blocks come before those that read the same place in this one.
        *args: For the worker's function.
        log_dir: Folder for logs. By default the system's for temporary files, or ``dacapo_logs`` in the working
            directory if workers run elsewhere.
        read_write_conflict: Whether blocks read what others write, so that two such blocks never run at the same time.
        tracking_path: Folder for done markers. It is kept, and blocks that are marked there are not done again,
            so that a call resumes an interrupted one with the same blocks. ``False`` writes no markers at all,
            which is enough for blocks that this process does.
        compute_context: Where workers run; by default the options say it, for the step that the worker module declares.
        task_name: Name for logs and progress bars, by default that of the worker module.
        **kwargs: For the worker's function.

    Raises:
        NotFoundError: If the file or module does not exist.
        BlockwiseError: If it cannot be loaded.
        ConfigError: If it is no worker module, a number is out of range, or an argument cannot be sent to a worker.
        RoiError: If the regions do not fit together.

    Attributes:
        job: The job of its workers.
        compute_context: Where they run.
        log_dir: Folder for everything about this run of the task, created when needed.
        keeps_logs: Whether the logs stay after success.
        has_done_markers: Whether blocks that are done are marked on disk.
        keeps_done_markers: Whether the markers stay after success.
        needs_process: Whether its workers ask for blocks by themselves, so that none can run in this process.
        upstream_tasks: Tasks that come before this one.
        num_blocks: The number of blocks.
        num_workers: The number of workers: no more than blocks, and on this machine no more than cores.
        in_process: Processes the blocks in this process, if no worker does.
    """

    job: Job
    in_process: InProcess | None

    def __new__(
        cls,
        worker_file: str | Path,
        total_roi: Roi,
        read_roi: Roi,
        write_roi: Roi,
        num_workers: int = 16,
        max_retries: int = 2,
        timeout: float | None = None,
        upstream_tasks: Sequence[daisy.Task] | None = None,
        *args: Any,
        log_dir: Path | str | None = None,
        read_write_conflict: bool = False,
        tracking_path: Path | str | Literal[False] | None = None,
        compute_context: ComputeContext | None = None,
        task_name: str | None = None,
        **kwargs: Any,
    ) -> DaCapoBlockwiseTask:
        call = WorkerCall.of(worker_file, args, kwargs)
        Execution(num_workers, max_retries=max_retries, timeout=timeout)  # checks them
        num_blocks = BlockGrid(written_region(total_roi, read_roi, write_roi), write_roi.shape).count
        context = compute_context or create_compute_context(step=call.step)
        most = context.limited(num_workers) or num_workers
        num_workers = min(most, num_blocks, context.local_cores or most)
        name = task_name or str(worker_file).removesuffix(".py").replace(os.sep, ".").rsplit(".", 1)[-1]
        task_id = f"dacapo_{name}_{secrets.token_hex(4)}"  # the random part keeps folders of runs apart
        folder = log_base(context, log_dir) / task_id
        # The arguments of spawn_worker stay in this process, so JSON need not hold them.
        arguments = ([], {}) if call.spawns else (call.args, call.kwargs)
        options = Options.instance().serialize()
        # Daisy counts the workers that it ends because of a timeout, in all, and gives up; so they end by themselves.
        limit = _NO_LIMIT if timeout is None else min(timeout, _NO_LIMIT)
        own_timeout = None if timeout is None or call.own_loop else limit
        time_limit, end_variable = context.time_limit, context.end_variable
        job = Job(call.worker_file, *arguments, str(folder), options, time_limit, end_variable, own_timeout)
        starter = WorkerStarter(
            context,
            job.to_json(),
            folder,
            search_path(),
            context.threads_per_worker(num_workers),
            max_retries + 1,
            spawn=call if call.spawns else None,
        )
        tracking = tracking_path is not False and str(Path(tracking_path or folder / "tracking").resolve())
        task: DaCapoBlockwiseTask = super().__new__(
            cls,
            task_id,
            total_roi,
            read_roi,
            write_roi,
            starter,
            read_write_conflict=read_write_conflict,
            fit="shrink",
            max_workers=num_workers,
            max_retries=max_retries,
            timeout=limit if own_timeout is None else limit + _GRACE,
            # Each attempt at a block may cost a worker. Those that end after progress are replaced without Daisy.
            max_worker_restarts=num_workers * (max_retries + 1),
            tracking_path=tracking,
        )
        task.job, task.compute_context, task.log_dir = Job.from_json(job.to_json()), context, folder
        task.num_blocks, task.num_workers, task.keeps_logs = num_blocks, num_workers, log_dir is not None
        task.upstream_tasks = list(upstream_tasks or ())
        task.has_done_markers, task.keeps_done_markers = tracking_path is not False, bool(tracking_path)
        task.needs_process = call.needs_process
        task.in_process = None
        return task

    def load_process(self) -> ProcessBlock:
        """Load the worker module and return its function for a block, to be used in this process.

        Raises:
            ConfigError: If it can only run in a process of its own.
        """
        process = self.job.open()
        if process is None:
            raise ConfigError(
                f"start_worker of {self.job.worker_file} returned nothing, so it can only run in a process of its own; "
                "use more than one worker, or a compute context with distribute_workers: true"
            )
        return process

    def use_in_process(self, process: ProcessBlock, done: Callable[[], object]) -> None:
        """Let blocks be processed in this process.

        Args:
            process: The function for a block.
            done: Called after each block that succeeded.
        """
        self.in_process = InProcess(process, self.log_dir, done)
        self.process_function = self.in_process.process_block

    def remove_traces(self) -> None:
        """Delete everything that is useless once all blocks are done."""
        if not self.keeps_logs:
            shutil.rmtree(self.log_dir, ignore_errors=True)
            return
        useless = [self.log_dir / RESERVE, self.log_dir / JOB_FILE, *paths_named(self.log_dir, f"{PLACE}*")]
        for file in (*useless, *progress_files(self.log_dir)):
            remove_file(file, missing_ok=True)
        blocks_handed_back(self.log_dir)
        if not self.keeps_done_markers:
            shutil.rmtree(str(self.done_marker_path), ignore_errors=True)
