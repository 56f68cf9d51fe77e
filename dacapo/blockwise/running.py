"""Running a blockwise operation: workers, retries, and what is done already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from funlib.geometry import Roi

from dacapo.blockwise.operation import WORKER, BlockwiseOperation
from dacapo.blockwise.record import Record, Resume, open_record
from dacapo.compute_context import create_compute_context
from dacapo.utils import distributed

if TYPE_CHECKING:
    import daisy.v2 as daisy


def run_operation(
    operation: BlockwiseOperation,
    num_workers: int = 1,
    *,
    overwrite: bool = True,
    resume: Resume | None = Resume.UNFINISHED,
    max_retries: int = 2,
    timeout: float | None = None,
    upstream_tasks: Sequence[daisy.Task] | None = None,
    in_process: bool = False,
) -> None:
    """Do all blocks of an operation.

    Several workers are processes that the compute context of the options starts. A single one works in this process,
    unless the context has ``distribute_workers`` set.

    Args:
        operation: What to do.
        num_workers: Number of workers at most.
        overwrite: Whether to replace an earlier output of other parameters. What this package did not write is never
            replaced.
        resume: What becomes of earlier work with the same parameters, see :class:`.Resume`. None keeps no record: the
            output is created anew and nothing lies beside it afterwards; for what is thrown away soon.
        max_retries: How often a block that failed is tried again.
        timeout: Seconds that a block may take in a worker process; no limit by default.
        upstream_tasks: Daisy tasks that come before.
        in_process: Whether to work in this process in any case, with the operation that was given, whose fields need
            not be fit for other processes.

    Raises:
        BlockwiseError: If blocks failed, or no worker could start. The message lists the blocks, their errors and where
            to read more. All other blocks are done, and the same call does only those that are missing.
        ConfigError: If a number makes no sense.
        OutputExistsError: If the output exists and must be kept.
        StorageError: If the output, or the marks of done blocks, cannot be written.
    """
    from dacapo.blockwise.blockwise_task import check_numbers

    check_numbers(1 if in_process else num_workers, max_retries, timeout)  # before anything is written
    how = {"max_retries": max_retries, "timeout": timeout, "upstream_tasks": upstream_tasks, "in_process": in_process}
    if resume is None:
        operation.create_output()
        run_stage(operation, None, num_workers, **how)  # type: ignore[arg-type]
        return
    with open_record(
        operation.output,
        operation.parameters(),
        operation.blocks(),
        overwrite=overwrite,
        resume=resume,
        fixed_blocks=operation.fixed_blocks,
    ) as record:
        if record.is_complete:
            return
        if record.blocks != operation.blocks():
            operation = operation.with_blocks(record.blocks)
        record.create(operation.create_output)
        run_stage(operation, record, num_workers, **how)  # type: ignore[arg-type]
        record.complete()


def run_on_ranks(operation: BlockwiseOperation) -> None:
    """Do all blocks of an operation in the processes that train together, each its share; all of them call this.

    No record is kept. A process that is alone does all blocks.

    Args:
        operation: What to do; the same in all processes, but its fields need not be fit for other processes.

    Raises:
        BlockwiseError: If blocks failed in this process.
    """
    if distributed.is_main():
        operation.create_output()
    distributed.barrier()
    run_stage(operation, None, in_process=True, wanted=lambda block: _is_own(operation.block_index(block.write_roi)))
    distributed.barrier()


def _is_own(index: int) -> bool:
    """Return whether a block is the business of this rank, by its number."""
    return index % distributed.world_size() == distributed.rank()


def run_stage(
    operation: BlockwiseOperation,
    record: Record | None,
    num_workers: int = 1,
    *,
    max_retries: int = 2,
    timeout: float | None = None,
    upstream_tasks: Sequence[daisy.Task] | None = None,
    in_process: bool = False,
    wanted: Callable[[daisy.Block], bool] = lambda block: True,
    log_dir: Path | None = None,
) -> None:
    """Do the blocks of an operation that are not done yet, for work that takes several operations.

    Such work calls :func:`~dacapo.blockwise.record.open_record` itself, and creates what the operations write to, since
    ``create_output`` is not called here. Each operation has marks of its own in the record, by its ``name``.

    Args:
        operation: What to do.
        record: Where done blocks are marked; None if they are not.
        num_workers: See :func:`run_operation`, as for the following ones.
        max_retries: How often a block that failed is tried again.
        timeout: Seconds that a block may take.
        upstream_tasks: Daisy tasks that come before.
        in_process: Whether to work in this process in any case.
        wanted: Tells which blocks to do, of work in this process; others are passed over.
        log_dir: Folder for logs, by default that of the record.

    Raises:
        BlockwiseError: If blocks failed, or no worker could start.
        StorageError: If the marks of done blocks cannot be written.
    """
    from dacapo.blockwise.blockwise_task import DaCapoBlockwiseTask, works_here
    from dacapo.blockwise.task_running import run_task

    write_roi = Roi((0,) * operation.region.dims, operation.block_shape)
    read_roi = write_roi.grow(operation.before, operation.after)
    total = operation.region.grow(operation.before, operation.after)
    most = operation.most_workers() or num_workers
    # In this process the operation works itself, and its worker module is but named.
    worker_file, args, kwargs = (WORKER, [{}], {}) if in_process else operation.worker()
    num_workers = 1 if in_process else min(num_workers, most)
    alone = not operation.needs_process and works_here(num_workers, upstream_tasks, create_compute_context())
    here_only = in_process or alone
    # What this process does, and nobody goes on with, needs no marks on disk.
    marks: Literal[False] | None = False if here_only else None
    task = DaCapoBlockwiseTask(
        worker_file,
        total,
        read_roi,
        write_roi,
        num_workers,
        max_retries,
        timeout,
        upstream_tasks,
        *args,
        log_dir=log_dir if record is None else record.log_dir,
        read_write_conflict=operation.read_write_conflict,
        tracking_path=marks if record is None else record.tracking(operation.name),
        task_name=operation.name,
        **kwargs,
    )

    def here() -> Callable[[daisy.Block], None]:
        operation.open()
        return lambda block: operation.process(block) if wanted(block) else None

    run_task(task, here if in_process else None)
