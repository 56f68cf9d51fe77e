"""Running worker modules and segmentation over the blocks of a region."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import daisy.v2 as daisy
from daisy import logging as daisy_logging
from funlib.geometry import Roi
from tqdm import tqdm

from dacapo.blockwise.blockwise_task import DaCapoBlockwiseTask
from dacapo.blockwise.identity import code_identity
from dacapo.blockwise.record import marks_of
from dacapo.blockwise.segmentation import Segmentation
from dacapo.blockwise.worker import DISK_FULL, START_ERROR, Process, check_worker, keep_room, plain_values
from dacapo.errors import BlockwiseError
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.progress import progress

_LISTED = 10


def run_blockwise(
    worker_file: str | Path,
    total_roi: Roi,
    read_roi: Roi,
    write_roi: Roi,
    num_workers: int = 16,
    max_retries: int = 1,
    timeout: float | None = None,
    upstream_tasks: Sequence[daisy.Task] | None = None,
    *args: Any,
    log_dir: Path | str | None = None,
    read_write_conflict: bool = False,
    tracking_path: Path | str | None = None,
    **kwargs: Any,
) -> bool:
    """Run a worker module over all blocks of a region.

    Workers are processes, started where the compute context of the options says. A single worker without upstream tasks
    works in this process, unless the context has ``distribute_workers`` set; ``timeout`` is without effect then.

    The parameters are those of :class:`DaCapoBlockwiseTask`. With a ``tracking_path`` an interrupted call goes on where
    it is made again; that folder also remembers worker module, arguments and regions, and refuses others. Logs are
    deleted when all blocks are done, unless they are in a ``log_dir`` that was given.

    Returns:
        True; when not all blocks were done there is an error.

    Raises:
        BlockwiseError: If blocks failed, or no worker could start. The message lists the blocks, their errors and where
            to read more. All other blocks are done.
        NotFoundError: If there is no such worker module.
        ConfigError: If it is no worker module, a number makes no sense, or an argument cannot be sent to a worker.
        RoiError: If the regions do not fit together.
        OutputExistsError: If ``tracking_path`` is about other parameters.
    """
    if tracking_path is not None:
        check_worker(worker_file)
        rois = [[list(map(int, roi.offset)), list(map(int, roi.shape))] for roi in (total_roi, read_roi, write_roi)]
        what = {"worker": str(worker_file), "code": code_identity(worker_file), "args": args, "kwargs": kwargs}
        tracking_path = marks_of(tracking_path, plain_values({**what, "rois": rois}))
    run_task(
        DaCapoBlockwiseTask(
            worker_file,
            total_roi,
            read_roi,
            write_roi,
            num_workers,
            max_retries,
            timeout,
            upstream_tasks,
            *args,
            log_dir=log_dir,
            read_write_conflict=read_write_conflict,
            tracking_path=tracking_path,
            **kwargs,
        )
    )
    return True


def run_task(task: DaCapoBlockwiseTask, here: Callable[[], Process] | None = None) -> None:
    """Do the blocks of a task, and of those before it.

    Args:
        task: The task.
        here: Returns the function for a block, for a task that is done in this process; by default that of its worker
            module.

    Raises:
        BlockwiseError: If blocks failed, or no worker could start.
        StorageError: If the marks of done blocks cannot be written.
    """
    tasks = _with_upstream(task)
    alone = task.num_workers == 1 and len(tasks) == 1 and not task.compute_context.distribute_workers
    with _worker_logs(task):
        for one in tasks:
            if isinstance(one, DaCapoBlockwiseTask):
                one.prepare_marks()
        if alone or here is not None:
            states = _run_here(task, (here or task.prepare_process)())
        else:
            states = _run_workers(task, tasks)
    _raise_failures(tasks, states)
    for done in tasks:
        if isinstance(done, DaCapoBlockwiseTask):
            done.remove_traces()


def _with_upstream(task: daisy.Task) -> list[daisy.Task]:
    """Return a task and all that come before it, each once."""
    found: list[daisy.Task] = []
    todo = [task]
    while todo:
        task = todo.pop()
        if not any(task is other for other in found):
            found.append(task)
            todo.extend(getattr(task, "upstream_tasks", None) or ())
    return found


@contextmanager
def _worker_logs(task: DaCapoBlockwiseTask) -> Iterator[None]:
    """Let Daisy write its logs beside those of the task, for as long as it runs."""
    before = daisy_logging.get_log_basedir()
    daisy_logging.set_log_basedir(task.log_dir / "daisy")
    try:
        yield
    finally:
        daisy_logging.set_log_basedir(before)


def _run_here(task: DaCapoBlockwiseTask, process: Process) -> Mapping[str, Any]:
    with progress(total=task.num_blocks, desc=task.task_id, unit="block") as bar:
        task.process_here(process, bar.update)
        states: Mapping[str, Any] = daisy.run_blockwise(
            task, multiprocessing=False, progress=False, summary=False, return_states=True
        )
    return states


def _run_workers(task: DaCapoBlockwiseTask, tasks: Sequence[daisy.Task]) -> Mapping[str, Any]:
    for one in tasks:
        if isinstance(one, DaCapoBlockwiseTask):
            keep_room(one.log_dir)
    edges = [(before, after) for after in tasks for before in getattr(after, "upstream_tasks", None) or ()]
    states: Mapping[str, Any] = daisy.Server().run_blockwise(
        daisy.Pipeline(list(tasks), edges),
        progress=_Bars(),
        host=task.compute_context.scheduler_host,
        summary=False,
    )
    return states


class _Bars:
    """Shows the progress of tasks; Daisy calls its methods."""

    def __init__(self) -> None:
        self._bars: dict[str, tqdm[None]] = {}

    def on_start(self, states: Mapping[str, Any]) -> None:
        for task_id, state in states.items():
            self._bars[task_id] = progress(total=state.total_block_count, desc=task_id, unit="block")

    def on_progress(self, states: Mapping[str, Any]) -> None:
        for task_id, bar in self._bars.items():
            bar.update(states[task_id].completed_count - bar.n)

    def on_finish(self, states: Mapping[str, Any]) -> None:
        self.on_progress(states)
        for bar in self._bars.values():
            bar.close()


def _raise_failures(tasks: Sequence[daisy.Task], states: Mapping[str, Any]) -> None:
    problems = []
    for task in tasks:
        state = states[task.task_id]
        if state.completed_count < state.total_block_count:
            problems.append(_describe(task, state))
    if problems:
        raise BlockwiseError("\n".join(problems))


def _describe(task: daisy.Task, state: Any) -> str:
    done, total = state.completed_count, state.total_block_count
    lines = [f"{task.task_id}: {total - done} of {total} blocks are not done"]
    if state.orphaned_count:
        lines[0] += f", {state.orphaned_count} of them were not tried"
    if not isinstance(task, DaCapoBlockwiseTask):
        return "\n".join([*lines, str(state.first_worker_error)])
    start_error = task.log_dir / START_ERROR
    if task.stopped_by is not None:
        return "\n".join([*lines, f"{DISK_FULL}: {task.stopped_by} (logs in {task.log_dir})"])
    if start_error.is_file():
        text = start_error.read_text(encoding="utf-8").strip().splitlines() or [""]
        return "\n".join([*lines, f"{text[0]}: {text[-1]} ({start_error})"])
    if state.abandoned and not state.worker_failure_count:
        lines.append(
            "no worker reached the process that hands out the blocks; give the compute context, as its host, the name "
            f"or address under which the machines of the workers reach this one (logs in {task.log_dir})"
        )
    elif state.abandoned:
        last = (state.last_worker_error or "").strip().splitlines()[-1:]
        lines.append(f"{state.worker_failure_count} workers died: {''.join(last)} (logs in {task.log_dir})")
    return "\n".join([*lines, *_listed(task)])


def _listed(task: DaCapoBlockwiseTask) -> list[str]:
    """Return a line for each of the first failed blocks; all are in a file if there are more."""
    lines = [f"block {block.write_roi}: {task.reason(block)}" for block in task.failed_blocks()]
    if len(lines) <= _LISTED:
        return lines
    file = task.log_dir / "failed_blocks.txt"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        return [*lines[:_LISTED], f"and {len(lines) - _LISTED} more blocks ({file} cannot be written: {error})"]
    return [*lines[:_LISTED], f"and {len(lines) - _LISTED} more blocks, all in {file}"]


def segment_blockwise(
    segment_function_file: str | Path,
    context: Sequence[int] | int,
    total_roi: Roi,
    read_roi: Roi,
    write_roi: Roi,
    num_workers: int = 16,
    max_retries: int = 2,
    timeout: float | None = None,
    upstream_tasks: Sequence[daisy.Task] | None = None,
    keep_tmpdir: bool = False,
    *args: Any,
    input_container: Path | str,
    input_dataset: str,
    output_container: Path | str,
    output_dataset: str,
    min_overlap: float = 0.0,
    overwrite: bool = False,
    **kwargs: Any,
) -> bool:
    """Segment an array in blocks, and join the segments of neighboring blocks.

    Each block is segmented with context around it. Where its segments lie over those that a neighbor has written, next
    to the face between them, the two are taken for one. A function that finds connected components so gives exactly
    those of the whole. For one whose result depends on all of the volume, such as a watershed, the blocks agree the
    better the more context they have.

    Args:
        segment_function_file: A Python file, or the import path of a module, that defines
            ``segment_function(input_array, roi, *args, **kwargs)``. It gets the input as an
            :class:`~dacapo.experiments.datasplits.datasets.arrays.Array`, and returns labels for a region of it: whole
            numbers of the spatial shape of the region in voxels, 0 for background.
        context: How far a block looks beyond ``read_roi`` on all sides, in world units, one number or one per axis; at
            least a voxel along axes with several blocks. The function gets less where the input ends.
        total_roi: Region to segment in world units, when ``read_roi`` equals ``write_roi``; else what is segmented is
            smaller by their difference.
        read_roi: What a block reads besides the context, relative to any origin.
        write_roi: What it writes, relative to the same origin and inside ``read_roi``.
        num_workers: Number of workers at most.
        max_retries: How often a block that failed is tried again.
        timeout: Seconds that a block may take; no limit by default.
        upstream_tasks: Tasks that come before.
        keep_tmpdir: Whether to keep the folder with the segments of the single blocks, beside the output. It is kept
            in any case if a block fails.
        *args: For the function.
        input_container: Container of the array to segment.
        input_dataset: Dataset inside it.
        output_container: Container of the segmentation.
        output_dataset: Dataset inside it. Created as uint64 if there is none. Segments are numbered from 1 on without
            a gap.
        min_overlap: Join two segments only if they share more than this part of the smaller of them, counted in the
            layer of voxels next to the block.
        overwrite: Whether to replace the output if this package wrote it. Otherwise labels are written into an output
            that exists, and what is outside of the region stays.
        **kwargs: For the function.

    Returns:
        True; when something failed there is an error.

    Raises:
        BlockwiseError: If blocks failed, as for :func:`run_blockwise`.
        NotFoundError: If the input or the file does not exist.
        ConfigError: If the file defines no such function, the context is too small, or blocks of the output share
            chunks.
        OutputExistsError: If the output is to be replaced but was not written by this package.
        RoiError: If regions do not fit together, or reach outside the arrays.
        DtypeError: If there are more segments than the type of the output can count.
    """
    segmentation = Segmentation.plan(
        LocalArrayIdentifier(Path(input_container), input_dataset),
        LocalArrayIdentifier(Path(output_container), output_dataset),
        segment_function_file,
        total_roi,
        read_roi,
        write_roi,
        context,
        min_overlap,
    )
    segmentation.create(overwrite)
    run_blockwise(
        "dacapo.blockwise.segment_worker",
        segmentation.read_region,
        segmentation.read_roi,
        segmentation.write_roi,
        num_workers,
        max_retries,
        timeout,
        upstream_tasks,
        log_dir=segmentation.log_dir,
        read_write_conflict=True,
        settings=segmentation.settings(),
        args=list(args),
        parameters=kwargs,
    )
    segmentation.merge()
    run_blockwise(
        "dacapo.blockwise.relabel_worker",
        segmentation.region,
        segmentation.write_roi,
        segmentation.write_roi,
        num_workers,
        max_retries,
        timeout,
        log_dir=segmentation.log_dir,
        settings=segmentation.settings(),
    )
    if not keep_tmpdir:
        segmentation.remove()
    return True
