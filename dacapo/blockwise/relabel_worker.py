"""Worker module that joins the segments of blocks, in their place; see :mod:`.segment_worker`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt
from funlib.geometry import Roi

from dacapo.blockwise.cross_block_merges import find_components, read_cross_block_merges, without_doubtful
from dacapo.blockwise.io_loop import io_loop
from dacapo.blockwise.spawned_worker import SpawnedWorker
from dacapo.blockwise.worker import Process
from dacapo.blockwise.worker_cli import (
    add_start_worker,
    log_level_option,
    long_output_options,
    set_log_level,
    tmpdir_option,
)
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier

if TYPE_CHECKING:
    import daisy.v2 as daisy


__all__ = [
    "cli",
    "find_components",
    "open_worker",
    "read_cross_block_merges",
    "relabel_in_block",
    "spawn_worker",
    "start_worker",
]


@click.group()
@log_level_option
def cli(log_level: str) -> None:
    """Join segments in the blocks of a Daisy task."""
    set_log_level(log_level)


def open_worker(
    output_container: Path | str, output_dataset: str, tmpdir: Path | str, *args: Any, **kwargs: Any
) -> Process:
    """Return the function that writes the joined segments of a block in the place of the single ones.

    Blocks can be others than those that were segmented, and may be done again.

    Args:
        output_container: Container of the segments.
        output_dataset: Dataset inside it.
        tmpdir: Folder of the segment worker, which has done all blocks.
        *args: Not used; the segment worker has more.
        **kwargs: Not used.

    Raises:
        ArrayNotFoundError: If the array does not exist.
        BlockwiseError: If the folder holds no segments, or a file in it is damaged.
    """
    output = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(Path(output_container), output_dataset))
    nodes, edges = read_cross_block_merges(tmpdir)
    components = without_doubtful(Path(tmpdir), nodes, find_components(nodes, edges))
    return lambda block: relabel_in_block(output, nodes, components, block)


def start_worker(
    output_container: Path | str,
    output_dataset: str,
    tmpdir: Path | str,
    return_io_loop: bool = False,
    *args: Any,
    **kwargs: Any,
) -> Callable[[], None] | None:
    """Do the blocks of the Daisy task that this process is a worker of; see :func:`open_worker`.

    Args:
        output_container: Container of the segments.
        output_dataset: Dataset inside it.
        tmpdir: Folder of the segment worker.
        return_io_loop: Whether to return the function that does the blocks, instead of calling it.
        *args: Not used.
        **kwargs: Not used.
    """
    return io_loop(lambda: open_worker(output_container, output_dataset, tmpdir), return_io_loop)


add_start_worker(cli, start_worker, long_output_options, tmpdir_option)


def relabel_in_block(
    array_out: Any, old_values: npt.NDArray[Any], new_values: npt.NDArray[Any], block: daisy.Block
) -> None:
    """Replace values of an array in what a block writes; others stay.

    Args:
        array_out: The array; what of the block lies outside of it is left out.
        old_values: Values to replace, of any order; each once.
        new_values: What each of them becomes.
        block: The block.
    """
    import fastremap

    roi = Roi(block.write_roi.offset, block.write_roi.shape).intersect(array_out.roi)
    if roi.empty or not len(old_values):
        return
    found, rank = fastremap.unique(np.ascontiguousarray(array_out[roi]), return_inverse=True)
    order = np.argsort(old_values)
    old, new = np.asarray(old_values)[order], np.asarray(new_values)[order]
    place = np.minimum(np.searchsorted(old, found), len(old) - 1)
    table = np.where(old[place] == found, new[place], found).astype(found.dtype)
    array_out[roi] = table[rank].reshape(tuple(array_out[roi].shape))


def spawn_worker(
    output_array_identifier: LocalArrayIdentifier, tmpdir: str, *args: Any, **kwargs: Any
) -> SpawnedWorker:
    """Return a function without arguments that starts a worker, for a Daisy task."""
    return SpawnedWorker.of("dacapo.blockwise.relabel_worker", None, output_array_identifier, tmpdir=tmpdir)


if __name__ == "__main__":
    cli()
