"""The lookup table: the label of each fragment, after all pairs have been joined."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.blockwise.segmentation.joining import Joined, join_all
from dacapo.blockwise.segmentation.plan import SegmentationPlan, open_array
from dacapo.blockwise.segmentation.workspace import Workspace
from dacapo.errors import DtypeError

Numbers = npt.NDArray[np.int64]

SMALL = np.iinfo(np.uint64).max
"""Label of fragments that others grow into."""


def write_lookup_table(plan: SegmentationPlan, workspace: Workspace) -> None:
    """Join the fragments of all blocks, and write the label of each; do nothing if an earlier call did.

    Raises:
        DtypeError: If the output cannot hold as many labels.
        BlockwiseError: If the file of a block is missing or damaged.
    """
    if workspace.labels_file.exists():
        return
    counts = (len(workspace.load("blocks", index, "sizes")[0]) for index in range(plan.grid.count))
    first = np.fromiter(itertools.accumulate(counts, initial=0), dtype=np.int64, count=plan.grid.count + 1)
    _save(workspace.first_file, first)
    fragments = FragmentTable(workspace, first, plan.block_voxels)
    joined = join_all(fragments.pairs)
    partial = workspace.labels_file.with_suffix(".partial")
    highest = _write_labels(partial, fragments, joined, plan.absorb_below)
    dtype = open_array(plan.output).dtype
    if highest > np.iinfo(dtype).max:
        raise DtypeError(f"{highest} segments are more than {dtype} can count; use an output of uint64")
    partial.replace(workspace.labels_file)


@attrs.frozen
class FragmentTable:
    """The fragments of all blocks by dense number, read from the files of the blocks.

    Attributes:
        workspace: The files.
        first: The dense number of the first fragment of each block, and at the end the number of all.
        block_voxels: Number of voxels of a block.
    """

    workspace: Workspace
    first: Numbers
    block_voxels: int

    def pairs(self) -> Iterator[Numbers]:
        """Yield the pairs of each block."""
        for index in range(len(self.first) - 1):
            (pairs,) = self.workspace.load("pairs", index, "pairs")
            yield dense_numbers(pairs, self.first, self.block_voxels)

    def measures(self) -> Iterator[tuple[int, Numbers, npt.NDArray[np.float64]]]:
        """Yield for each block the number of its first fragment, and size and sum of evidence of all."""
        for index in range(len(self.first) - 1):
            sizes, sums = self.workspace.load("blocks", index, "sizes", "sums")
            yield int(self.first[index]), sizes, sums if len(sums) else np.zeros(len(sizes))


def _write_labels(file: Path, fragments: FragmentTable, joined: Joined, absorb_below: int) -> int:
    """Write the label of each fragment, and return the highest label.

    Blocks are read in order, and the root of joined fragments is the first of them, so that a root has its label before
    the others ask for it. Labels are given to roots from 1 on without a gap. A segment whose evidence sums up to less
    than 0 becomes background.
    """
    spare = 1  # an empty file could not be mapped into memory
    labels = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint64, shape=(int(fragments.first[-1]) + spare,))
    highest = 0
    total_sizes, total_sums = joined.totals(fragments.measures())
    root_labels = np.zeros(len(joined.nodes), dtype=np.uint64)
    for begin, sizes, sums in fragments.measures():
        nodes = joined.slice(begin, begin + len(sizes))
        with_pair, roots = joined.nodes[nodes] - begin, joined.roots[nodes]
        sizes[with_pair], sums[with_pair] = total_sizes[roots], total_sums[roots]
        is_root = np.ones(len(sizes), dtype=bool)
        is_root[with_pair] = roots == np.arange(nodes.start, nodes.stop)
        new = is_root & (sizes >= absorb_below) & (sums >= 0)
        block_labels = np.where(sums < 0, np.uint64(0), np.uint64(SMALL))
        block_labels[new] = np.arange(highest + 1, highest + 1 + int(new.sum()), dtype=np.uint64)
        highest += int(new.sum())
        root_labels[roots[is_root[with_pair]]] = block_labels[with_pair[is_root[with_pair]]]
        block_labels[with_pair] = root_labels[roots]
        labels[begin : begin + len(sizes)] = block_labels
    labels.flush()
    return highest


def dense_numbers(ids: npt.NDArray[np.uint64], first: Numbers, block_voxels: int) -> Numbers:
    """Return the numbers of fragments without gaps, from 0 on.

    Args:
        ids: Fragments, by the number of their block times the voxels of a block, plus their number in it from 1 on.
        first: The dense number of the first fragment of each block.
        block_voxels: Number of voxels of a block.
    """
    block, local = np.divmod(ids.astype(np.int64) - 1, block_voxels)
    return np.asarray(first[block] + local)


def _save(file: Path, array: npt.NDArray[Any]) -> None:
    partial = file.with_suffix(".partial")
    with partial.open("wb") as handle:
        np.save(handle, array)
    partial.replace(file)
