"""A Daisy task whose workers are processes that the compute context starts."""

from __future__ import annotations

import logging
import math
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import daisy.v2 as daisy
import numpy as np
from funlib.geometry import Roi

from dacapo.blockwise.jobs import JOB_FILE, Job
from dacapo.blockwise.reports import (
    DISK_FULL,
    KEPT_ROOM,
    is_disk_full,
    log_file,
    report,
    report_file,
    report_stop,
    reported,
    unfinished,
)
from dacapo.blockwise.worker import Process, prepare
from dacapo.blockwise.worker_call import WorkerCall
from dacapo.blockwise.worker_starter import PLACE, WorkerStarter, log_base
from dacapo.compute_context import ComputeContext, create_compute_context
from dacapo.errors import BlockwiseError, ConfigError, RoiError, StorageError
from dacapo.options import Options

logger = logging.getLogger(__name__)

# Daisy takes no endless time limit; ten years are as good.
_NO_LIMIT = 10 * 365 * 86400.0


class DaCapoBlockwiseTask(daisy.Task):  # type: ignore[misc]  # Daisy has no types
    """A Daisy task that runs a worker module, see :mod:`dacapo.blockwise`.

    Attributes:
        job: What its workers do.
        compute_context: Where they run.
        log_dir: Folder for everything about this run of the task, made when it is needed.
        keeps_logs: Whether the logs stay when all went well.
        keeps_marks: Whether the marks of blocks that are done stay.
        needs_process: Whether its workers ask for blocks by themselves, so that none can work in this process.
        stopped_by: The error after which no more blocks were begun in this process.
        failed_here: Blocks that failed in this process, where there are no marks of them.
        upstream_tasks: Tasks that come before this one.
        num_blocks: The number of blocks.
        num_workers: The number of workers: no more than blocks, and on this machine no more than cores.
    """

    needs_process: bool
    stopped_by: Exception | None
    failed_here: dict[Any, daisy.Block] | None

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
        task_name: str | None = None,
        **kwargs: Any,
    ) -> DaCapoBlockwiseTask:
        call = WorkerCall.of(worker_file, args, kwargs)
        check_numbers(num_workers, max_retries, timeout)
        num_blocks = count_blocks(total_roi, read_roi, write_roi)
        compute_context = create_compute_context()
        num_workers = min(num_workers, num_blocks, compute_context.local_cores or num_workers)
        # The part after the name makes folders of runs differ.
        name = task_name or str(worker_file).removesuffix(".py").replace(os.sep, ".").rsplit(".", 1)[-1]
        task_id = f"dacapo_{name}_{secrets.token_hex(4)}"
        keeps_logs = log_dir is not None
        log_dir = log_base(compute_context, log_dir) / task_id
        # What spawn_worker is given may be anything that its function can be sent with.
        arguments = ([], {}) if call.spawns else (call.args, call.kwargs)
        job = Job(call.worker_file, *arguments, str(log_dir), Options.instance().serialize())
        starter = WorkerStarter(
            compute_context,
            job.to_json(),
            log_dir,
            os.pathsep.join(path for path in sys.path if path),
            compute_context.threads_per_worker(num_workers),
            spawn=call if call.spawns else None,
        )
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
            timeout=_NO_LIMIT if timeout is None else timeout,
            # Each try of a block may cost a worker.
            max_worker_restarts=num_workers * (max_retries + 1),
            tracking_path=False
            if tracking_path is False
            else str(Path(tracking_path or log_dir / "tracking").resolve()),
        )
        task.job, task.compute_context, task.log_dir = Job.from_json(job.to_json()), compute_context, log_dir
        task.num_blocks, task.num_workers, task.keeps_logs = num_blocks, num_workers, keeps_logs
        task.upstream_tasks = list(upstream_tasks or ())
        task.keeps_marks = bool(tracking_path)
        task.needs_process = call.needs_process
        task.stopped_by = None
        task.failed_here = None if tracking_path is not False else {}
        return task

    def __init__(
        self,
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
        task_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Make the task; nothing is run or written yet.

        Args:
            worker_file: A Python file, or the import path of a module.
            total_roi: The region that blocks read, in world units. The region that they write is smaller by the
                context of a block.
            read_roi: What a block reads, relative to any origin.
            write_roi: What it writes, relative to the same origin and inside ``read_roi``.
            num_workers: Number of workers at most.
            max_retries: How often a block that failed is tried again.
            timeout: Seconds that a block may take before its worker is killed, which counts as a failure; no limit by
                default.
            upstream_tasks: Tasks whose blocks come before those that read the same place in this one.
            *args: For the worker's function.
            log_dir: Folder for logs. By default the system's for temporary files, or ``dacapo_logs`` in the working
                directory if workers run elsewhere.
            read_write_conflict: Whether blocks read what others write, so that such two are never done at the same
                time.
            tracking_path: Folder for marks of the blocks that are done. It is kept, and blocks that are marked in it
                are not done again: the call goes on where one with the same blocks was interrupted. ``False`` keeps
                none, not even for the time being, which does for blocks that are done in this process.
            task_name: Name for logs and progress bars, by default that of the worker module.
            **kwargs: For the worker's function.

        Raises:
            NotFoundError: If there is no such file or module.
            BlockwiseError: If it cannot be loaded.
            ConfigError: If it is no worker module, a number makes no sense, or an argument cannot be sent to a worker.
            RoiError: If the regions do not fit together.
        """

    def failures(self) -> list[str]:
        """Return for each block that was tried and is not done its region, why, and where more can be read."""
        failed = self.failed_blocks() if self.failed_here is None else self.failed_here.values()
        regions = {block.block_id[1]: str(block.write_roi) for block in failed}
        # Daisy does not count the last blocks of dead workers when it gives up.
        lost = unfinished(self.log_dir)
        regions |= {number: region for number, (region, _) in lost.items()}
        return [f"block {regions[number]}: {self._reason(number, lost)}" for number in sorted(regions)]

    def _reason(self, number: int, lost: Mapping[int, tuple[str, int]]) -> str:
        file = report_file(self.log_dir, number)
        if number in lost:
            return f"its worker died or took too long ({log_file(self.log_dir, lost[number][1])})"
        if not file.is_file():
            return f"its worker died or took too long (logs in {self.log_dir})"
        return f"{reported(file)[1]} ({file})"

    def prepare_process(self) -> Process:
        """Load the worker module and return its function for a block, to be used in this process.

        Raises:
            ConfigError: If it can only run in a process of its own.
        """
        process = prepare(self.job)
        if process is None:
            raise ConfigError(
                f"start_worker of {self.job.worker_file} returned nothing, so it can only run in a process of its own; "
                "use more than one worker, or a compute context with distribute_workers: true"
            )
        return process

    def remove_traces(self) -> None:
        """Delete what is of no use when all blocks are done."""
        if not self.keeps_logs:
            shutil.rmtree(self.log_dir, ignore_errors=True)
            return
        for file in (KEPT_ROOM, JOB_FILE, *(place.name for place in self.log_dir.glob(f"{PLACE}*"))):
            (self.log_dir / file).unlink(missing_ok=True)
        if not self.keeps_marks:
            shutil.rmtree(str(self.done_marker_path), ignore_errors=True)

    def process_here(self, process: Process, done: Callable[[], object]) -> None:
        """Make the blocks be processed in this process.

        Args:
            process: The function of the worker module for a block.
            done: Called after each block that succeeded.
        """

        def process_block(block: daisy.Block) -> None:
            full = self.stopped_by is not None
            try:
                if full:
                    raise BlockwiseError(DISK_FULL)
                process(block)
            except Exception as error:  # noqa: BLE001  # reported, and the block counts as failed
                block.status = daisy.BlockStatus.FAILED  # Daisy would end at the first error that it sees itself
                if self.failed_here is not None:
                    self.failed_here[block.block_id] = block
                if not full:
                    report(report_file(self.log_dir, block.block_id[1]), f"block {block.write_roi} failed", error)
                if not full and is_disk_full(error):
                    self.stopped_by = error
                    report_stop(self.log_dir, DISK_FULL, error)
            else:
                if self.failed_here is not None:
                    self.failed_here.pop(block.block_id, None)
                done()

        self.process_function = process_block

    def prepare_marks(self) -> None:
        """Make the files with the marks of blocks that are done, of full size.

        They are written through a mapping into memory, where a full disk would end this process without a word.

        Raises:
            StorageError: If they cannot be written, for example because the disk is full.
            BlockwiseError: If they are of other blocks.
        """
        if self.failed_here is not None:
            return
        everything = np.ones(tuple(self.block_grid_shape), dtype=bool)
        nothing = daisy.Task(
            self.task_id,
            self.total_roi,
            self.read_roi,
            self.write_roi,
            _nothing,
            read_write_conflict=self.read_write_conflict,
            fit=self.fit,
            tracking_path=self.done_marker_path,
            skip_mask=everything,
        )
        try:
            daisy.run_blockwise(nothing, multiprocessing=False, progress=False, summary=False)
            for file in Path(str(self.done_marker_path)).glob("*/c/**/*"):
                if file.is_file():
                    _allocate(file)
            self._tell_what_is_done()
        except OSError as error:
            raise StorageError(f"cannot write {self.done_marker_path}: {error}") from error
        except RuntimeError as error:
            raise BlockwiseError(f"cannot keep a record of blocks in {self.done_marker_path}: {error}") from error

    def _tell_what_is_done(self) -> None:
        # A plain byte per block.
        files = [file for file in Path(str(self.done_marker_path)).glob("done/c/**/*") if file.is_file()]
        done = sum(file.stat().st_size - file.read_bytes().count(0) for file in files)
        if done:
            logger.info("%s: %d of %d blocks are done already", self.task_id, done, self.num_blocks)


def works_here(num_workers: int, upstream_tasks: Sequence[Any] | None, compute_context: ComputeContext) -> bool:
    """Return whether the blocks of a task are done in the process that runs it, because there is a single worker."""
    return num_workers == 1 and not upstream_tasks and not compute_context.distribute_workers


def _nothing(block: daisy.Block) -> None:
    pass


def _allocate(file: Path) -> None:
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, os.fstat(handle.fileno()).st_size)


def check_numbers(num_workers: int, max_retries: int, timeout: float | None) -> None:
    """Check the numbers that a task is made with.

    Raises:
        ConfigError: If one makes no sense.
    """
    if num_workers < 1 or max_retries < 0 or not (timeout is None or timeout > 0):
        raise ConfigError(
            f"got num_workers {num_workers}, max_retries {max_retries}, timeout {timeout}; "
            "expected at least 1 worker, no less than 0 retries, and a timeout above 0 or none"
        )


def written_region(total_roi: Roi, read_roi: Roi, write_roi: Roi) -> Roi:
    """Return the region that the blocks of a task write.

    Raises:
        RoiError: If a block would write what it does not read, or nothing is left to write.
    """
    if not total_roi.dims == read_roi.dims == write_roi.dims or write_roi.empty or not read_roi.contains(write_roi):
        raise RoiError(
            f"in {total_roi} a block cannot read {read_roi} and write {write_roi}; expected regions of as many axes, "
            "and that a block reads at least what it writes"
        )
    region = total_roi.grow(read_roi.begin - write_roi.begin, write_roi.end - read_roi.end)
    if any(extent <= 0 for extent in region.shape):
        raise RoiError(
            f"{total_roi} is too small: with blocks that read {read_roi} to write {write_roi} nothing is left to write"
        )
    return region


def count_blocks(total_roi: Roi, read_roi: Roi, write_roi: Roi) -> int:
    """Return the number of blocks of a task.

    Raises:
        RoiError: If the regions do not fit together.
    """
    region = written_region(total_roi, read_roi, write_roi)
    return math.prod(-(-extent // step) for extent, step in zip(region.shape, write_roi.shape, strict=True))
