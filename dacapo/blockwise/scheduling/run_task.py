"""Running Daisy tasks, in this process or in workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import daisy.v2 as daisy
from daisy import logging as daisy_logging
from tqdm import tqdm

from dacapo.blockwise.scheduling.daisy_errors import daisy_errors
from dacapo.blockwise.scheduling.done_markers import allocate_done_markers
from dacapo.blockwise.scheduling.failures import handed_back, raise_failures
from dacapo.blockwise.scheduling.task import DaCapoBlockwiseTask
from dacapo.blockwise.scheduling.waiting import tell_waiting_jobs
from dacapo.blockwise.worker.progress import DoneCount
from dacapo.blockwise.worker.reports import reserve_space
from dacapo.blockwise.worker.user_modules import ProcessBlock
from dacapo.compute_context import works_here
from dacapo.utils.progress import progress

logger = logging.getLogger(__name__)


def run_task(task: DaCapoBlockwiseTask, in_process: Callable[[], ProcessBlock] | None = None) -> None:
    """Do the blocks of a task and of its upstream tasks.

    Args:
        task: The task.
        in_process: Makes the task run in this process, with the function for a block that it returns. By default a task
            with a single worker does, with the function of its worker module.

    Raises:
        BlockwiseError: If blocks failed, or no worker could start.
        StorageError: If the done markers cannot be read or written.
    """
    tasks = _with_upstream(task)
    alone = not task.needs_process and works_here(task.num_workers, task.upstream_tasks, task.compute_context)
    with _worker_logs(task):
        for one in tasks:
            if isinstance(one, DaCapoBlockwiseTask) and one.has_done_markers:
                allocate_done_markers(one)
        if alone or in_process is not None:
            states = _run_in_process(task, (in_process or task.load_process)())
        else:
            states = _run_workers(task, tasks)
    raise_failures(tasks, states)
    for done in tasks:
        if isinstance(done, DaCapoBlockwiseTask):
            done.remove_traces()


def _with_upstream(task: daisy.Task) -> list[daisy.Task]:
    """Return a task and all its upstream tasks, each once."""
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
    """Let Daisy write its logs beside those of the task while it runs."""
    before = daisy_logging.get_log_basedir()
    daisy_logging.set_log_basedir(task.log_dir / "daisy")
    try:
        yield
    finally:
        daisy_logging.set_log_basedir(before)


def _run_in_process(task: DaCapoBlockwiseTask, process: ProcessBlock) -> Mapping[str, Any]:
    with (
        progress(total=task.num_blocks, desc=task.task_id, unit="block") as bar,
        daisy_errors(),
        _interrupted_quietly(),
    ):
        task.use_in_process(process, bar.update)
        states: Mapping[str, Any] = daisy.run_blockwise(
            task, multiprocessing=False, progress=False, summary=False, return_states=True
        )
    _log_done_before(states)
    return states


def _log_done_before(states: Mapping[str, Any]) -> None:
    for task_id, state in states.items():
        if state.skipped_count:
            logger.info("%s: %d of %d blocks were done before", task_id, state.skipped_count, state.total_block_count)


@contextmanager
def _interrupted_quietly() -> Iterator[None]:
    """Keep Daisy from warning of a failed block when the user stops the work."""

    def is_news(record: logging.LogRecord) -> bool:
        return not any(isinstance(value, KeyboardInterrupt) for value in record.args or ())

    daisy_logging.logger.addFilter(is_news)
    try:
        yield
    finally:
        daisy_logging.logger.removeFilter(is_news)


def _run_workers(task: DaCapoBlockwiseTask, tasks: Sequence[daisy.Task]) -> Mapping[str, Any]:
    """Do the blocks of tasks in workers, again if Daisy counts those as failed that workers handed back."""
    states = _run_workers_once(task, tasks)
    _log_done_before(states)
    while again := handed_back(tasks, states):
        logger.info("jobs of workers ended in mid-block; doing %d tasks to the end", len(again))
        states = {**states, **_run_workers_once(task, again)}
    return states


def _run_workers_once(task: DaCapoBlockwiseTask, tasks: Sequence[daisy.Task]) -> Mapping[str, Any]:
    edges = [(before, after) for after in tasks for before in getattr(after, "upstream_tasks", None) or ()]
    edges = [edge for edge in edges if edge[0] in tasks]  # the others are done
    with ExitStack() as stack:
        counts = {}
        for one in tasks:
            if isinstance(one, DaCapoBlockwiseTask):
                reserve_space(one.log_dir)
                counts[one.task_id] = stack.enter_context(closing(DoneCount.create(one.log_dir)))
        stack.enter_context(tell_waiting_jobs([one for one in tasks if isinstance(one, DaCapoBlockwiseTask)]))
        stack.enter_context(daisy_errors())
        states: Mapping[str, Any] = daisy.Server().run_blockwise(
            daisy.Pipeline(list(tasks), edges),
            progress=_Observer(counts),
            host=task.compute_context.scheduler_host,
            summary=False,
        )
    return states


class _Observer:
    """Shows the progress of tasks, and tells it to those that start workers; Daisy calls its methods."""

    def __init__(self, counts: Mapping[str, DoneCount]) -> None:
        self._counts = counts
        self._bars: dict[str, tqdm[None]] = {}

    def on_start(self, states: Mapping[str, Any]) -> None:
        for task_id, state in states.items():
            self._bars[task_id] = progress(total=state.total_block_count, desc=task_id, unit="block")

    def on_progress(self, states: Mapping[str, Any]) -> None:
        for task_id, bar in self._bars.items():
            state = states[task_id]
            if state.completed_count != bar.n:
                bar.update(state.completed_count - bar.n)
                if task_id in self._counts:
                    self._counts[task_id].write(state.completed_count - state.skipped_count)

    def on_finish(self, states: Mapping[str, Any]) -> None:
        self.on_progress(states)
        for bar in self._bars.values():
            bar.close()
