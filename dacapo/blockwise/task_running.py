"""Doing the blocks of Daisy tasks, in this process or in workers, and saying what failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import daisy.v2 as daisy
from daisy import logging as daisy_logging
from tqdm import tqdm

from dacapo.blockwise.blockwise_task import DaCapoBlockwiseTask, works_here
from dacapo.blockwise.reports import DISK_FULL, START_ERROR, deaths, keep_room, reported
from dacapo.blockwise.worker import Process
from dacapo.errors import BlockwiseError
from dacapo.utils.progress import progress

_LISTED = 10


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
    alone = not task.needs_process and works_here(task.num_workers, task.upstream_tasks, task.compute_context)
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
    missing = f"{task.task_id}: {total - done} of {total} blocks are not done"
    if not isinstance(task, DaCapoBlockwiseTask):
        untried = f", {state.orphaned_count} of them were not tried" if state.orphaned_count else ""
        return f"{missing}{untried}\n{state.first_worker_error}"
    start_error = task.log_dir / START_ERROR
    if task.stopped_by is not None:
        return f"{missing}\n{DISK_FULL}: {task.stopped_by} (logs in {task.log_dir})"
    if start_error.is_file():
        return f"{missing}\n{': '.join(reported(start_error))} ({start_error})"
    failures = task.failures()
    if state.orphaned_count and len(failures) < total - done:
        missing += f", {total - done - len(failures)} of them were not tried"
    return "\n".join([missing, *(_why_abandoned(task) if state.abandoned else []), *_listed(task, failures)])


def _why_abandoned(task: DaCapoBlockwiseTask) -> list[str]:
    died = deaths(task.log_dir)
    if died:
        return [f"{len(died)} workers died, the last one: {died[-1]}"]
    return [
        "no worker reached the process that hands out the blocks; give the compute context, as its host, the name "
        f"or address under which the machines of the workers reach this one (logs in {task.log_dir})"
    ]


def _listed(task: DaCapoBlockwiseTask, lines: list[str]) -> list[str]:
    """Return the first lines about failed blocks; all are in a file if there are more."""
    if len(lines) <= _LISTED:
        return lines
    file = task.log_dir / "failed_blocks.txt"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        return [*lines[:_LISTED], f"and {len(lines) - _LISTED} more blocks ({file} cannot be written: {error})"]
    return [*lines[:_LISTED], f"and {len(lines) - _LISTED} more blocks, all in {file}"]
