"""The first pass: segment each block by itself."""

from __future__ import annotations

from typing import Any

import attrs
import daisy.v2 as daisy
import numpy as np
import numpy.typing as npt

from dacapo.blockwise.segmentation.plan import SegmentationPass, open_array
from dacapo.blockwise.segmentation.segment_function import BlockRoi, load_segment_function, segment_region
from dacapo.blockwise.worker.user_modules import declared_step, load_module
from dacapo.compute_context import Step
from dacapo.experiments.datasplits.datasets.arrays import open_identifier
from dacapo.utils.blocks import as_roi, slices_of

Labels = npt.NDArray[np.uint64]


@attrs.define(kw_only=True, eq=False)
class Fragments(SegmentationPass):
    """Writes the fragments of a block, and a file with their sizes, their evidence and the labels of the halo."""

    @property
    def name(self) -> str:
        return "segment"

    @property
    def step(self) -> Step:
        return declared_step(load_module(self.plan.function_file), self.plan.function_file, Step.SEGMENT)

    def open(self) -> None:
        self.function = load_segment_function(self.plan.function_file)
        self.source = open_identifier(self.plan.input)
        self.fragments = open_array(self.workspace.fragments, "a")

    def process(self, block: daisy.Block) -> None:
        plan, voxel_size = self.plan, self.plan.voxel_size
        write_roi, read_roi = as_roi(block.write_roi), as_roi(block.read_roi).intersect(self.source.roi)
        roi = BlockRoi(read_roi, write_roi, block.block_id)
        labels, evidence = segment_region(self.function, self.source, roi, plan.args, plan.kwargs)
        inside = slices_of(write_roi, read_roi, voxel_size)
        found = FoundSegments.of(labels[inside])
        index = self.block_index(write_roi)
        numbers = np.arange(1, len(found.ids) + 1, dtype=np.uint64) + np.uint64(index * plan.block_voxels)
        self.fragments[write_roi] = found.numbered(numbers)
        # Only segments that the block also writes can be matched.
        parts = [labels[slices_of(part, read_roi, voxel_size)].ravel() for part in plan.halo(write_roi)]
        halo = replaced(np.concatenate([np.zeros(0, np.uint64), *parts]), found.ids, numbers)
        sums = found.sums(None if evidence is None else evidence[inside])
        self.workspace.save("blocks", index, sizes=found.sizes, sums=sums, layer=halo)


@attrs.frozen
class FoundSegments:
    """The segments in the labels that a block writes.

    Attributes:
        ids: Their labels, sorted, without 0.
        rank: For each voxel, flat, the index of its label among all, the background first if the block has any.
        has_background: Whether the block has background.
        shape: Shape of the block.
    """

    ids: Labels
    rank: npt.NDArray[np.int64]
    has_background: bool
    shape: tuple[int, ...]

    @classmethod
    def of(cls, labels: Labels) -> FoundSegments:
        """Find the segments in the labels of a block."""
        import fastremap

        found, rank = fastremap.unique(np.ascontiguousarray(labels), return_inverse=True)
        background = len(found) > 0 and found[0] == 0
        return cls(found[int(background) :], rank.reshape(-1).astype(np.int64), bool(background), labels.shape)

    def numbered(self, numbers: Labels) -> Labels:
        """Return the labels of the block with new numbers for its segments, in the order of ``ids``."""
        table = np.concatenate([np.zeros(int(self.has_background), np.uint64), numbers.astype(np.uint64)])
        return np.asarray(table[self.rank].reshape(self.shape))

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Number of voxels of each segment."""
        return np.bincount(self.rank, minlength=len(self.ids) + self.has_background)[int(self.has_background) :]

    def sums(self, evidence: npt.NDArray[Any] | None) -> npt.NDArray[np.float64]:
        """Return the sum of the evidence of each segment, an empty array without evidence."""
        if evidence is None:
            return np.zeros(0)
        sums = np.bincount(self.rank, evidence.ravel(), minlength=len(self.ids) + self.has_background)
        return np.asarray(sums[int(self.has_background) :], dtype=np.float64)


def replaced(labels: npt.NDArray[Any], ids: npt.NDArray[Any], numbers: npt.NDArray[Any]) -> Labels:
    """Return labels with each of the sorted ids replaced by its number, and all others by 0."""
    if not len(ids):
        return np.zeros(labels.shape, dtype=np.uint64)
    rank = np.minimum(np.searchsorted(ids, labels), len(ids) - 1)
    return np.where(ids[rank] == labels, numbers[rank].astype(np.uint64), np.uint64(0))
