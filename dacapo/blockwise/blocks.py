"""Running a function over the blocks of a volume with Daisy."""

from __future__ import annotations

from collections.abc import Callable

from funlib.geometry import Coordinate, Roi

from dacapo.errors import BlockwiseError
from dacapo.utils.blocks import count_blocks
from dacapo.utils.progress import progress


def run_blocks(name: str, total_write_roi: Roi, write_shape: Coordinate, process: Callable[[Roi], None]) -> None:
    """Call a function once for each block that covers a region, in this process.

    Args:
        name: What is done, for the progress bar and for errors.
        total_write_roi: The region to cover, in world units.
        write_shape: Shape of a block in world units. Blocks start at the region's offset; the last ones are smaller
            where it is no multiple.
        process: Takes the region of a block.

    Raises:
        BlockwiseError: If a block fails; the first one ends the work, and the message names the block and the cause.
    """
    import daisy.v2 as daisy

    block_roi = Roi((0,) * total_write_roi.dims, write_shape)
    task = daisy.Task(name, total_write_roi, block_roi, block_roi, read_write_conflict=False, fit="shrink")
    # Asking the scheduler for one block after another lets an error out as it is; Daisy's serial run would print it.
    scheduler = daisy.Scheduler(task)
    total = count_blocks(total_write_roi.shape, write_shape)
    with progress(total=total, desc=name, unit="block") as bar:
        while (block := scheduler.acquire_block(name)) is not None:
            roi = Roi(block.write_roi.offset, block.write_roi.shape)
            try:
                process(roi)
            except Exception as error:
                raise BlockwiseError(f"{name}: block {roi} failed: {error}") from error
            block.status = daisy.BlockStatus.SUCCESS
            scheduler.release_block(block)
            bar.update()
    if scheduler.task_states[name].completed_count < total:
        raise BlockwiseError(f"{name}: not all of {total} blocks were done")
