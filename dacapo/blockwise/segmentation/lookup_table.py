"""The lookup table: the label of each fragment, after all pairs have been joined."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.blockwise.segmentation.plan import SegmentationPlan, open_array
from dacapo.blockwise.segmentation.workspace import RUNS, Workspace
from dacapo.errors import DtypeError
from dacapo.store.files import allocate

Numbers = npt.NDArray[np.int64]

SMALL = np.iinfo(np.uint64).max
"""Label of fragments that others grow into."""

IS_BACKGROUND, IS_SMALL, IS_SEGMENT = 0, 1, 2
"""Fates of a segment."""

_LABEL_OF = np.array([0, SMALL, 0], dtype=np.uint64)  # by fate; segments are numbered


def write_lookup_table(plan: SegmentationPlan, workspace: Workspace) -> None:
    """Join the fragments of all runs of blocks, and write the label of each.

    Raises:
        DtypeError: If the output cannot hold as many labels.
        BlockwiseError: If the file of a run is missing or damaged.
    """
    fragments = FragmentTable.of(plan, workspace)
    _save(workspace.first_file, fragments.first)
    partial = workspace.labels_file.with_suffix(".partial")
    highest = _write_labels(partial, fragments, plan.absorb_below)
    dtype = open_array(plan.output).dtype
    if highest > np.iinfo(dtype).max:
        raise DtypeError(f"{highest} segments are more than {dtype} can count; use an output of uint64")
    partial.replace(workspace.labels_file)


def fates(sizes: npt.NDArray[Any], sums: npt.NDArray[np.float64], absorb_below: int) -> npt.NDArray[np.uint8]:
    """Return what becomes of segments.

    Args:
        sizes: Number of voxels of each.
        sums: Sum of the evidence of each; those below 0 become background.
        absorb_below: Segments with fewer voxels are absorbed by others.
    """
    kept = np.where(sizes >= absorb_below, IS_SEGMENT, IS_SMALL)
    return np.where(sums >= 0, kept, np.where(sums < 0, IS_BACKGROUND, IS_SMALL)).astype(np.uint8)


@attrs.frozen
class FragmentTable:
    """The fragments of all blocks by dense number, read from the files of the runs.

    Attributes:
        workspace: The files.
        block_voxels: Number of voxels of a block.
        first: The dense number of the first fragment of each block, and at the end the number of all.
        runs: The number of the first block of each run, and at the end the number of all.
        members: The number of fragments with a pair before each run, and at the end that of all.
    """

    workspace: Workspace
    block_voxels: int
    first: Numbers
    runs: Numbers
    members: Numbers

    @classmethod
    def of(cls, plan: SegmentationPlan, workspace: Workspace) -> FragmentTable:
        """Count fragments."""
        counts, blocks, members = [np.zeros(0, dtype=np.int64)], [], []
        for run in range(plan.runs.count):
            of_blocks, some = workspace.load(RUNS, run, "counts", "members")
            counts.append(of_blocks)
            blocks.append(len(of_blocks))
            members.append(len(some))
        before = (_sums_before(each) for each in (np.concatenate(counts), blocks, members))
        return cls(workspace, plan.block_voxels, *before)

    def parts(self) -> Iterator[tuple[int, slice]]:
        """Yield the number of each run, and its part of all members."""
        for run in range(len(self.runs) - 1):
            yield run, slice(int(self.members[run]), int(self.members[run + 1]))

    def roots(self) -> npt.NDArray[Any]:
        """Return for each member the least one that it is joined to, or itself."""
        from dacapo.utils.union_kernels import flatten, unite

        count = int(self.members[-1])
        parent = np.empty(count, dtype=np.uint32 if count <= 1 << 32 else np.int64)
        for run, part in self.parts():
            (roots,) = self.workspace.load(RUNS, run, "roots")
            parent[part] = roots + part.start
        for run, part in self.parts():
            own, others = self.workspace.load(RUNS, run, "own", "others")
            unite(parent, own + part.start, self._members(others))
        flatten(parent)
        return parent

    def totals(self, roots: npt.NDArray[Any]) -> tuple[Numbers, npt.NDArray[np.float64]]:
        """Return the sizes and the sums of evidence of all members of each root.

        They are added in the order of the fragments, so that rounding does not depend on the runs.
        """
        sizes, sums = np.zeros(len(roots), dtype=np.int64), np.zeros(len(roots))
        for run, part in self.parts():
            of_run = roots[part].astype(np.int64)
            some_sizes, some_sums = self.workspace.load(RUNS, run, "sizes", "sums")
            np.add.at(sizes, of_run, some_sizes)
            np.add.at(sums, of_run, some_sums)
        return sizes, sums

    def _members(self, ids: npt.NDArray[np.uint64]) -> Numbers:
        """Return the indices of fragments among all members."""
        numbers = dense_numbers(ids, self.first, self.block_voxels)
        found, starts = np.empty(len(ids), dtype=np.int64), self.first[self.runs]
        run_of_each = np.searchsorted(starts, numbers, side="right") - 1
        for run in np.unique(run_of_each):
            chosen = run_of_each == run
            (members,) = self.workspace.load(RUNS, int(run), "members")
            found[chosen] = np.searchsorted(members, numbers[chosen] - starts[run]) + self.members[run]
        return found


def _write_labels(file: Any, fragments: FragmentTable, absorb_below: int) -> int:
    """Write the label of each fragment, and return the highest label.

    Runs are read in order, and the root of joined fragments is the first of them, so that a root has its label before
    the others ask for it. Labels are given to roots from 1 on without a gap.
    """
    spare = 1  # an empty file could not be mapped into memory
    labels = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint64, shape=(int(fragments.first[-1]) + spare,))
    allocate(file)
    roots = fragments.roots()
    sizes, sums = fragments.totals(roots)
    root_labels = np.zeros(len(roots), dtype=np.uint64)
    highest = 0
    for run, part in fragments.parts():
        fate, members = fragments.workspace.load(RUNS, run, "fates", "members")
        of_run = roots[part]
        is_root = of_run == np.arange(part.start, part.stop)
        fate[members] = np.where(is_root, fates(sizes[part], sums[part], absorb_below), IS_BACKGROUND)
        run_labels, new = _LABEL_OF[fate], fate == IS_SEGMENT
        count = int(np.count_nonzero(new))
        run_labels[new] = np.arange(highest + 1, highest + 1 + count, dtype=np.uint64)
        highest += count
        root_labels[part][is_root] = run_labels[members[is_root]]
        run_labels[members] = root_labels[of_run]
        begin = int(fragments.first[fragments.runs[run]])
        labels[begin : begin + len(run_labels)] = run_labels
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


def _sums_before(counts: Any) -> Numbers:
    """Return for each count the sum of those before it, and at the end that of all."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])


def _save(file: Any, array: npt.NDArray[Any]) -> None:
    partial = file.with_suffix(".partial")
    with partial.open("wb") as handle:
        np.save(handle, array)
    partial.replace(file)
