"""Which blocks failed, and why, for the error at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import daisy.v2 as daisy
from funlib.geometry import Roi

from dacapo.blockwise.scheduling.done_markers import not_done
from dacapo.blockwise.scheduling.task import DaCapoBlockwiseTask
from dacapo.blockwise.worker.leaving import blocks_handed_back
from dacapo.blockwise.worker.reports import (
    DISK_FULL,
    START_ERROR,
    deaths,
    log_file,
    report_file,
    reported,
)
from dacapo.blockwise.worker.taken import blocks_of_dead_workers
from dacapo.errors import BlockwiseError
from dacapo.store.files import is_file

_LISTED = 10


def raise_failures(tasks: Sequence[daisy.Task], states: Mapping[str, Any]) -> None:
    """Raise an error if blocks are missing.

    Args:
        tasks: The tasks that ran.
        states: Their states at the end, by id.

    Raises:
        BlockwiseError: If blocks of a task are not done.
    """
    problems = []
    for task in tasks:
        state = states[task.task_id]
        if state.completed_count < state.total_block_count:
            problems.append(_describe(task, state))
    if problems:
        raise BlockwiseError("\n".join(problems))


def handed_back(tasks: Sequence[daisy.Task], states: Mapping[str, Any]) -> list[daisy.Task]:
    """Return the tasks to run once more, since workers that left handed back blocks that then counted as failed.

    Args:
        tasks: All tasks, of which some may be done.
        states: Their states at the end, by id.
    """
    left = [task for task in tasks if states[task.task_id].completed_count < states[task.task_id].total_block_count]
    own = [task for task in left if isinstance(task, DaCapoBlockwiseTask) and task.has_done_markers]
    stopped = any(states[task.task_id].abandoned or is_file(task.log_dir / START_ERROR) for task in own)
    if stopped or len(own) < len(left):
        return []
    blocks = [{block.block_id[1] for block in task.failed_blocks()} & blocks_handed_back(task.log_dir) for task in own]
    return left if any(blocks) else []


def _describe(task: daisy.Task, state: Any) -> str:
    done, total = state.completed_count, state.total_block_count
    missing = f"{task.task_id}: {total - done} of {total} blocks are not done"
    if not isinstance(task, DaCapoBlockwiseTask):
        untried = f", {state.orphaned_count} of them were not tried" if state.orphaned_count else ""
        return f"{missing}{untried}\n{state.first_worker_error}"
    if task.in_process is not None and task.in_process.stopped_by is not None:
        return f"{missing}\n{DISK_FULL}: {task.in_process.stopped_by} (logs in {task.log_dir})"
    start_error = task.log_dir / START_ERROR
    if is_file(start_error):
        return f"{missing}\n{': '.join(reported(start_error))} ({start_error})"
    failed = _failed_blocks(task)
    if state.orphaned_count and len(failed) < total - done:
        missing += f", {total - done - len(failed)} of them were not tried"
    return "\n".join([missing, *(_why_abandoned(task) if state.abandoned else []), *_listed(task, failed)])


def _failed_blocks(task: DaCapoBlockwiseTask) -> list[str]:
    """Return a line for each block that failed: its region, the reason, and where to read more."""
    in_process = {} if task.in_process is None else task.in_process.failed
    failed = task.failed_blocks() if task.has_done_markers else in_process.values()
    regions = {block.block_id[1]: str(block.write_roi) for block in failed}
    # When Daisy gives up, it does not count the last blocks of dead workers. Others have done those before.
    dead = blocks_of_dead_workers(task.log_dir)
    lost = [region for number, (region, _) in dead.items() if number not in regions]
    regions |= {block.block_id[1]: str(block.write_roi) for block in (not_done(task, lost) if lost else ())}
    return [f"block {regions[number]}: {_reason(task, number, dead)}" for number in sorted(regions)]


def _reason(task: DaCapoBlockwiseTask, number: int, dead: Mapping[int, tuple[Roi, int]]) -> str:
    if number in dead:
        return f"its worker died or took too long ({log_file(task.log_dir, dead[number][1])})"
    file = report_file(task.log_dir, number)
    if not is_file(file):
        return f"its worker died or took too long (logs in {task.log_dir})"
    return f"{reported(file)[1]} ({file})"


def _why_abandoned(task: DaCapoBlockwiseTask) -> list[str]:
    died = deaths(task.log_dir)
    if died:
        return [f"{len(died)} workers died, the last one: {died[-1]}"]
    return [
        "no worker reached the process that hands out the blocks; give the compute context, as its host, the name "
        f"or address under which the machines of the workers reach this one (logs in {task.log_dir})"
    ]


def _listed(task: DaCapoBlockwiseTask, lines: list[str]) -> list[str]:
    """Return the first lines about failed blocks, and write all of them to a file if there are more."""
    if len(lines) <= _LISTED:
        return lines
    file = task.log_dir / "failed_blocks.txt"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        return [*lines[:_LISTED], f"and {len(lines) - _LISTED} more blocks ({file} cannot be written: {error})"]
    return [*lines[:_LISTED], f"and {len(lines) - _LISTED} more blocks, all in {file}"]
