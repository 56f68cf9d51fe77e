"""Daisy's markers of the blocks that are done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import daisy.v2 as daisy
import numpy as np
from funlib.geometry import Roi

from dacapo.errors import BlockwiseError, StorageError
from dacapo.store.files import allocate, files_below, is_file, paths_in, read_text, storage_error
from dacapo.store.folders import remove_folder
from dacapo.utils.blocks import written_region
from dacapo.utils.plain_json import parse_json


def allocate_done_markers(task: daisy.Task) -> None:
    """Create the files of the done markers of a task, at full size.

    Daisy writes markers through a memory map; on a full disk, that would kill the process without an error.

    Raises:
        StorageError: If the files cannot be written, for example because the disk is full.
        BlockwiseError: If they belong to other blocks.
    """
    folder = Path(str(task.done_marker_path))
    for marks in paths_in(folder):
        _remove_unfinished(marks)
    try:
        # A task that skips every block creates the files and does nothing else.
        _look_at(task, [], lambda block: None)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error("write", folder, error) from error
    except RuntimeError as error:
        raise BlockwiseError(f"cannot keep done markers of blocks in {folder}: {error}") from error
    for file in files_below(folder):
        allocate(file)


def _remove_unfinished(marks: Path) -> None:
    """Remove an array of marks whose making ended before its description was written: it marks nothing yet."""
    try:
        if is_file(marks / "zarr.json"):
            parse_json(read_text(marks / "zarr.json"))
    except ValueError:
        remove_folder(marks)


def not_done(task: daisy.Task, regions: Iterable[Roi]) -> list[daisy.Block]:
    """Return those of some blocks that are not marked as done; Daisy then counts them as failed.

    Args:
        task: A task that has run.
        regions: The regions that the blocks write.
    """
    found = []

    def fail(block: daisy.Block) -> None:
        found.append(block)
        block.status = daisy.BlockStatus.FAILED

    _look_at(task, regions, fail)
    return found


def _look_at(task: daisy.Task, regions: Iterable[Roi], process: Callable[[daisy.Block], None]) -> None:
    """Call a function for those blocks of a task that write some regions and are not marked as done."""
    skipped = np.ones(tuple(task.block_grid_shape), dtype=bool)
    begin = written_region(task.total_roi, task.read_roi, task.write_roi).begin
    for region in regions:
        skipped[tuple((region.begin - begin) / task.write_roi.shape)] = False
    looking = daisy.Task(
        task.task_id,
        task.total_roi,
        task.read_roi,
        task.write_roi,
        process,
        read_write_conflict=task.read_write_conflict,
        fit=task.fit,
        max_retries=0,
        tracking_path=task.done_marker_path,
        skip_mask=skipped,
    )
    daisy.run_blockwise(looking, multiprocessing=False, progress=False, summary=False)
