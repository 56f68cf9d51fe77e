"""Running a blockwise operation: its journal, its workers, and retries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import daisy.v2 as daisy
from funlib.geometry import Roi

from dacapo.blockwise.journal import Journal, Resume, open_journal
from dacapo.blockwise.operation import WORKER, BlockwiseOperation
from dacapo.compute_context import ComputeContext, Execution, create_compute_context, works_here
from dacapo.store.files import storage_errors
from dacapo.utils import distributed


@storage_errors()
def run_operation(
    operation: BlockwiseOperation,
    num_workers: int = 1,
    *,
    overwrite: bool = True,
    resume: Resume | None = Resume.UNFINISHED,
    max_retries: int = 2,
    timeout: float | None = None,
    upstream_tasks: Sequence[daisy.Task] | None = None,
) -> None:
    """Do all blocks of an operation, with an :class:`~dacapo.compute_context.Execution` of the given values.

    Several workers are processes that the compute context of the options starts. A single one works in this process,
    unless the context has ``distribute_workers`` set. The ``upstream_tasks`` of Daisy come before.

    Raises:
        BlockwiseError: If blocks failed, or no worker could start. The message lists the blocks, their errors and where
            to read more. All other blocks are done, and the same call does only those that are missing.
        ConfigError: If a number is out of range.
        OutputExistsError: If the output exists and must be kept.
        StorageError: If the output, or the done markers, cannot be written.
    """
    execution = Execution(num_workers, overwrite=overwrite, resume=resume, max_retries=max_retries, timeout=timeout)
    execute(operation, execution, upstream_tasks=upstream_tasks)


def execute(
    operation: BlockwiseOperation,
    execution: Execution,
    *,
    upstream_tasks: Sequence[daisy.Task] | None = None,
    in_process: bool = False,
) -> None:
    """Do all blocks of an operation.

    Args:
        operation: The operation.
        execution: The number of workers, the number of retries, and whether to keep earlier work.
        upstream_tasks: Daisy tasks that come before.
        in_process: Whether to work in this process in any case, with this very operation, whose fields JSON then need
            not hold.

    Raises:
        DacapoError: As :func:`run_operation`.
    """
    if not _alone(operation, execution, upstream_tasks, in_process):
        operation.worker()  # an operation that workers cannot find writes nothing
    if execution.resume is None:
        operation.create_output()
        run_stage(operation, None, execution, upstream_tasks=upstream_tasks, in_process=in_process)
        return
    with open_journal(
        operation.output,
        operation.parameters(),
        operation.blocks(),
        overwrite=execution.overwrite,
        resume=execution.resume,
        fixed_blocks=operation.fixed_blocks,
    ) as journal:
        if journal.is_complete:
            return
        if journal.blocks != operation.blocks():
            operation = operation.with_blocks(journal.blocks)
        journal.create(operation.create_output)
        run_stage(operation, journal, execution, upstream_tasks=upstream_tasks, in_process=in_process)
        journal.complete()


def _num_workers(operation: BlockwiseOperation, execution: Execution) -> int:
    most = execution.workers_for(operation.step)
    return min(most, operation.most_workers() or most)


def _alone(
    operation: BlockwiseOperation,
    execution: Execution,
    upstream_tasks: Sequence[daisy.Task] | None,
    in_process: bool,
) -> bool:
    """Return whether this process does the blocks, with this very operation."""
    number = _num_workers(operation, execution)
    return in_process or (not operation.needs_process and works_here(number, upstream_tasks, _context(operation)))


def _context(operation: BlockwiseOperation) -> ComputeContext:
    return create_compute_context(step=operation.step)


def run_on_ranks(operation: BlockwiseOperation) -> None:
    """Split the blocks of an operation among the processes that train together; all of them call this.

    No journal is kept. A single process does all blocks.

    Args:
        operation: The operation, the same in all processes; JSON need not hold its fields.

    Raises:
        BlockwiseError: If blocks failed in this process.
    """
    if distributed.is_main():
        operation.create_output()
    distributed.barrier()
    run_stage(
        operation,
        None,
        Execution(),
        in_process=True,
        wanted=lambda block: _is_own(operation.block_index(block.write_roi)),
    )
    distributed.barrier()


def _is_own(index: int) -> bool:
    """Return whether this rank does the block of a number."""
    return index % distributed.world_size() == distributed.rank()


def run_stage(
    operation: BlockwiseOperation,
    journal: Journal | None,
    execution: Execution,
    *,
    upstream_tasks: Sequence[daisy.Task] | None = None,
    in_process: bool = False,
    wanted: Callable[[daisy.Block], bool] = lambda block: True,
) -> None:
    """Do the missing blocks of one of several operations that make an output together.

    The caller opens the journal and creates the output. Each operation has its own done markers in the journal, by its
    ``name``.

    Args:
        operation: The operation.
        journal: Where done blocks are marked; None marks none.
        execution: The number of workers, and the number of retries.
        upstream_tasks: Daisy tasks that come before.
        in_process: Whether to work in this process in any case, with this very operation.
        wanted: Selects the blocks to do, when this process does them.

    Raises:
        BlockwiseError: If blocks failed, or no worker could start.
        StorageError: If the done markers cannot be written.
    """
    from dacapo.blockwise.scheduling.run_task import run_task
    from dacapo.blockwise.scheduling.task import DaCapoBlockwiseTask

    write_roi = Roi((0,) * operation.region.dims, operation.block_shape)
    num_workers = 1 if in_process else _num_workers(operation, execution)
    here = _alone(operation, execution, upstream_tasks, in_process)
    # Blocks of this process that no later call resumes need no markers on disk.
    markers: Literal[False] | None = False if here else None
    # In this process the operation itself is used, so that its worker module is only named, and no other process has to
    # find its class, which may be one of a notebook.
    worker_file, args, kwargs = (WORKER, [{}], {}) if here else operation.worker()
    task = DaCapoBlockwiseTask(
        worker_file,
        operation.region.grow(operation.before, operation.after),
        write_roi.grow(operation.before, operation.after),
        write_roi,
        num_workers,
        execution.max_retries,
        execution.timeout,
        upstream_tasks,
        *args,
        log_dir=None if journal is None else journal.log_dir,
        read_write_conflict=operation.read_write_conflict,
        tracking_path=markers if journal is None else journal.done_markers(operation.name),
        compute_context=_context(operation),
        task_name=operation.name,
        **kwargs,
    )

    def open_operation() -> Callable[[daisy.Block], None]:
        operation.open()
        return lambda block: operation.process(block) if wanted(block) else None

    run_task(task, open_operation if here else None)
