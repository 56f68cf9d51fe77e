"""The third pass: join the fragments of consecutive blocks, and collect the pairs that are left."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import attrs
import daisy.v2 as daisy
import numpy as np
import numpy.typing as npt
from funlib.geometry import Roi

from dacapo.blockwise.segmentation.joining import roots_of
from dacapo.blockwise.segmentation.lookup_table import dense_numbers, fates
from dacapo.blockwise.segmentation.plan import SegmentationPass, SegmentationPlan
from dacapo.blockwise.segmentation.workspace import BLOCKS, PAIRS, RUNS
from dacapo.utils.blocks import as_roi

Numbers = npt.NDArray[np.int64]

_RUNS_PER_WORKER = 4
"""Runs that are worth the start of a process."""


@attrs.define(kw_only=True, eq=False)
class Gathering(SegmentationPass):
    """Writes a file for each run of blocks with consecutive numbers.

    The calling process then reads few large files instead of several small ones per block, and only the pairs between
    runs are left to join. Files hold::

        counts      number of fragments of each block
        fates       fate of each fragment, see :func:`.fates`; means nothing for members
        members     fragments that have a pair, in any run, by their number in the run
        roots       index in members of the least member that each is joined to, or its own
        sizes       number of voxels of each member
        sums        sum of the evidence of each member
        own         for each pair with a later run the index of its member
        others      the other fragment of these pairs, by the number in the array of fragments
    """

    @classmethod
    def of(cls, plan: SegmentationPlan, folder: Path) -> Self:
        """Make the pass of a plan, whose blocks are runs of blocks."""
        none = plan.before * 0
        return attrs.evolve(super().of(plan, folder), block_shape=plan.runs.block_shape, before=none, after=none)

    @property
    def name(self) -> str:
        return "gather"

    def most_workers(self) -> int:
        return max(1, self.grid.count // _RUNS_PER_WORKER)

    def process(self, block: daisy.Block) -> None:
        run = as_roi(block.write_roi)
        blocks = self.plan.grid.numbers(run)
        counts, sizes, sums = self._fragments(blocks)
        first = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
        begin, end = int(blocks[0]) * self.plan.block_voxels, int(blocks[-1] + 1) * self.plan.block_voxels

        def numbers(ids: npt.NDArray[np.uint64]) -> Numbers:
            """Return the numbers of fragments in the run; their ids begin at 1."""
            return dense_numbers(ids - np.uint64(begin), first, self.plan.block_voxels)

        pairs, earlier = self._pairs(blocks), self._pairs(self._earlier(run, blocks))[:, 1]
        inside = pairs[:, 1] <= end
        own, reached = numbers(pairs[:, 0]), numbers(earlier[(earlier > begin) & (earlier <= end)])
        inner = np.stack([own[inside], numbers(pairs[inside, 1])], axis=1)
        members = np.unique(np.concatenate([own, inner[:, 1], reached]))
        self.workspace.save(
            RUNS,
            self.block_index(run),
            counts=counts,
            fates=fates(sizes, sums, self.plan.absorb_below),
            members=members,
            roots=roots_of(members, inner),
            sizes=sizes[members],
            sums=sums[members],
            own=np.searchsorted(members, own[~inside]),
            others=pairs[~inside, 1],
        )

    def _fragments(self, blocks: Numbers) -> tuple[Numbers, Numbers, npt.NDArray[np.float64]]:
        """Return the number of fragments of each block, and the sizes and sums of evidence of all, 0 without any."""
        counts, all_sizes, all_sums = [], [], []
        for index in blocks:
            sizes, sums = self.workspace.load(BLOCKS, int(index), "sizes", "sums")
            counts.append(len(sizes))
            all_sizes.append(sizes)
            all_sums.append(sums if len(sums) else np.zeros(len(sizes)))
        return np.array(counts, dtype=np.int64), np.concatenate(all_sizes), np.concatenate(all_sums)

    def _pairs(self, blocks: Numbers) -> npt.NDArray[np.uint64]:
        """Return the pairs of some blocks, one per row."""
        found: list[npt.NDArray[Any]] = [np.zeros((0, 2), dtype=np.uint64)]
        found += [self.workspace.load(PAIRS, int(index), "pairs")[0] for index in blocks]
        return np.concatenate(found)

    def _earlier(self, run: Roi, blocks: Numbers) -> Numbers:
        """Return the blocks of earlier runs that touch those of a run."""
        around = run.grow(self.plan.block_shape, self.plan.block_shape).intersect(self.region)
        numbers = self.plan.grid.numbers(around)
        return np.asarray(numbers[numbers < blocks[0]])
