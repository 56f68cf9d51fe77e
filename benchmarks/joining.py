"""What joining the fragments of blocks takes: time in workers and in the calling process, and memory per fragment.

    python -m benchmarks.joining                  # 22^3 blocks with some 10^7 pairs
    python -m benchmarks.joining --blocks 39      # as many as 10^12 voxels have in blocks of 256^3
    python -m benchmarks.joining --quick

The files of the blocks are made up, as the first two passes of a segmentation write them: each block has 4096 fragments
and shares 256 of them with each block beyond a face, 16 beyond an edge and one beyond a corner, as blocks of 256^3
voxels with objects of 16^3 voxels. Memory is the peak of what the calling process allocates while it joins, divided by
the number of fragments that have a pair.
"""

from __future__ import annotations

import argparse
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.outputs import ORIGIN
from dacapo.blockwise.scheduling.run_operation import run_stage
from dacapo.blockwise.segmentation.gathering import Gathering
from dacapo.blockwise.segmentation.lookup_table import FragmentTable, write_lookup_table
from dacapo.blockwise.segmentation.plan import SegmentationPlan
from dacapo.blockwise.segmentation.workspace import Workspace
from dacapo.compute_context import Execution
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.progress import progress
from tests.helpers.segments import plan_of_voxels

from .harness import machine, timed

EDGE = 256  # of a block, voxels
FRAGMENTS = 4096
SHARED = {1: 256, 2: 16, 3: 1}  # by the number of axes along which the other block lies beyond this one


def make_plan(folder: Path, blocks: int) -> SegmentationPlan:
    """Plan the segmentation of a cube of blocks, and create its output, without any voxels."""
    one, block = Coordinate(1, 1, 1), Coordinate(EDGE, EDGE, EDGE)
    output = LocalArrayIdentifier(folder / "labels.zarr", "labels")
    region = Roi((0, 0, 0), block * blocks)
    array = ZarrArray.create_from_array_identifier(
        output, ["z", "y", "x"], region, None, one, np.uint64, write_size=block
    )
    array.add_metadata({ORIGIN: {"operation": "benchmark"}})
    return plan_of_voxels(output, region, block, "dacapo.blockwise.watershed_function")


def write_blocks(plan: SegmentationPlan, workspace: Workspace) -> int:
    """Write the files of all blocks; return the number of pairs."""
    rng, count = np.random.default_rng(0), 0
    for number, block in enumerate(progress(list(plan.grid), desc="files of blocks", unit="block")):
        sizes = rng.integers(1, 2 * 16**3, FRAGMENTS)
        workspace.save("blocks", number, sizes=sizes, sums=sizes * rng.normal(0.3, 0.1, FRAGMENTS))
        pairs = [np.zeros((0, 2), dtype=np.uint64)]
        for other in plan.grid.later_neighbors(block):
            beyond = sum(a != b for a, b in zip(block.begin, other.begin, strict=True))
            ends = [rng.choice(FRAGMENTS, SHARED[beyond], replace=False) + 1 for _ in range(2)]
            bases = [number * plan.block_voxels, plan.grid.index(other) * plan.block_voxels]
            pairs.append(
                np.stack([end + base for end, base in zip(ends, bases, strict=True)], axis=1).astype(np.uint64)
            )
        workspace.save("pairs", number, pairs=np.concatenate(pairs))
        count += sum(map(len, pairs))
    return count


@attrs.frozen
class Taken:
    """What joining takes.

    Attributes:
        blocks: Number of blocks.
        pairs: Number of pairs of fragments.
        members: Number of fragments that have a pair.
        gather: Seconds that workers take to gather fragments, by their number.
        join: Seconds of the calling process.
        peak: Bytes that it allocates.
    """

    blocks: int
    pairs: int
    members: int
    gather: dict[int, float]
    join: float
    peak: int


def measure(blocks: int, workers: Sequence[int] = (1,)) -> Taken:
    """Join a cube of blocks."""
    with tempfile.TemporaryDirectory(prefix="joining_") as name:
        plan, workspace = make_plan(Path(name), blocks), Workspace(Path(name) / "work")
        pairs = write_blocks(plan, workspace)
        gathering = Gathering.of(plan, workspace.folder)
        gather = {
            number: timed(lambda number=number: run_stage(gathering, None, Execution(number), in_process=number == 1))
            for number in workers
        }
        join = timed(lambda: write_lookup_table(plan, workspace))
        tracemalloc.start()
        write_lookup_table(plan, workspace)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        members = int(FragmentTable.of(plan, workspace).members[-1])
        return Taken(plan.grid.count, pairs, members, gather, join, peak)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=22, help="number of blocks along each axis")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="few blocks, one worker, to see that all works")
    options = parser.parse_args(arguments)
    print("\n".join(machine()), end="\n\n", flush=True)
    measure(2)  # compiles
    taken = measure(*(3, [1]) if options.quick else (options.blocks, options.workers))
    print(f"{taken.blocks} blocks, {taken.blocks * FRAGMENTS:.1e} fragments, {taken.pairs:.1e} pairs")
    for number, seconds in taken.gather.items():
        print(f"gathering, {number} worker(s): {seconds:.1f} s")
    print(f"joining in the calling process: {taken.join:.2f} s")
    each = taken.peak / taken.members
    print(
        f"its memory: {taken.peak / 1e6:.0f} MB, {each:.1f} bytes for each of {taken.members:.1e} fragments with a pair"
    )


if __name__ == "__main__":
    main()
