"""Worker module that joins the segments of blocks in place; see :mod:`.segment_worker`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import daisy.v2 as daisy
import numpy as np
import numpy.typing as npt
from funlib.geometry import Roi

from dacapo.blockwise.segmentation.cross_block_merges import find_components, read_cross_block_merges, without_doubtful
from dacapo.blockwise.worker.command_line import array_options, tmpdir_option, worker_cli
from dacapo.blockwise.worker.loop import make_start_worker
from dacapo.blockwise.worker.spawned import SpawnedWorker
from dacapo.blockwise.worker.user_modules import ProcessBlock
from dacapo.compute_context import Step
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier

COMPUTE_STEP = Step.RELABEL

__all__ = [
    "cli",
    "find_components",
    "open_worker",
    "read_cross_block_merges",
    "relabel_in_block",
    "spawn_worker",
    "start_worker",
]


def open_worker(
    output_container: Path | str, output_dataset: str, tmpdir: Path | str, *args: Any, **kwargs: Any
) -> ProcessBlock:
    """Return the function that replaces the segments of a block by the joined ones.

    The blocks need not be those that were segmented, and may be repeated.

    Args:
        output_container: Container of the segments.
        output_dataset: Dataset inside it.
        tmpdir: Folder of the segment worker, after all its blocks.
        *args: Not used; accepts the further arguments of the segment worker.
        **kwargs: Not used.

    Raises:
        ArrayNotFoundError: If the array does not exist.
        BlockwiseError: If the folder holds no segments, or a file in it is damaged.
    """
    output = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(Path(output_container), output_dataset))
    nodes, edges = read_cross_block_merges(tmpdir)
    components = without_doubtful(Path(tmpdir), nodes, find_components(nodes, edges))
    return lambda block: relabel_in_block(output, nodes, components, block)


start_worker = make_start_worker(open_worker)
cli = worker_cli(
    "Join segments in the blocks of a Daisy task.", start_worker, array_options("output", short=False), tmpdir_option
)


def relabel_in_block(
    array_out: Any, old_values: npt.NDArray[Any], new_values: npt.NDArray[Any], block: daisy.Block
) -> None:
    """Replace values of an array in a block; other values stay.

    Args:
        array_out: The array; a block may reach beyond it.
        old_values: Distinct values to replace, in any order.
        new_values: The replacement of each.
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
