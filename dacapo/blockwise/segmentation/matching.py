"""The second pass: find out which fragments of neighboring blocks are one segment."""

from __future__ import annotations

import math

import attrs
import daisy.v2 as daisy
import numpy as np
import numpy.typing as npt
from funlib.geometry import Roi

from dacapo.blockwise.segmentation.joining import overlapping_pairs
from dacapo.blockwise.segmentation.plan import SegmentationPass, open_array
from dacapo.utils.blocks import as_roi, slices_of

Labels = npt.NDArray[np.uint64]


@attrs.define(kw_only=True, eq=False)
class Matching(SegmentationPass):
    """Writes the pairs of fragments of a block and its later neighbors."""

    @property
    def name(self) -> str:
        return "match"

    def open(self) -> None:
        self.fragments = open_array(self.workspace.fragments)

    def process(self, block: daisy.Block) -> None:
        """Write the pairs on which a block and a neighbor agree.

        Each of the two has labels of its own on both sides of their common face. A pair counts if the halo of the
        block overlaps the fragments of the neighbor, and the halo of the neighbor those of the block.
        """
        plan, write_roi = self.plan, as_roi(block.write_roi)
        index = self.block_index(write_roi)
        (halo,) = self.workspace.load("blocks", index, "layer")
        written = self.fragments[write_roi]  # read once, for all neighbors
        pairs = [np.zeros((0, 2), dtype=np.uint64)]
        for neighbor in plan.grid.later_neighbors(write_roi):
            (its_halo,) = self.workspace.load("blocks", self.block_index(neighbor), "layer")
            near = plan.seen(write_roi).intersect(neighbor)
            facing = self.fragments[near] if not near.empty else np.zeros((0,) * near.dims, np.uint64)
            found_by_each = [
                self._overlaps(halo, write_roi, facing, near),
                self._overlaps(its_halo, neighbor, written, write_roi)[:, ::-1],
            ]
            both, count = np.unique(np.concatenate(found_by_each), axis=0, return_counts=True)
            pairs.append(both[count == 2])
        self.workspace.save("pairs", index, pairs=np.concatenate(pairs))

    def _overlaps(self, halo: Labels, block: Roi, written: Labels, where: Roi) -> Labels:
        """Return the pairs of segments in the halo of a block and fragments that other blocks wrote there.

        Args:
            halo: The labels of the halo, flat.
            block: The block.
            written: The fragments.
            where: Their region.
        """
        mine, others, at = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)], 0
        for region in self.plan.halo(block):
            shape = tuple(region.shape / self.plan.voxel_size)
            labels = halo[at : at + math.prod(shape)].reshape(shape)
            at += labels.size
            part = region.intersect(where)
            if not part.empty:
                mine.append(labels[slices_of(part, region, self.plan.voxel_size)].ravel())
                others.append(written[slices_of(part, where, self.plan.voxel_size)].ravel())
        return overlapping_pairs(np.concatenate(mine), np.concatenate(others), self.plan.min_overlap)
