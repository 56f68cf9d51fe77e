"""The last pass: write the joined labels."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import attrs
import daisy.v2 as daisy
import numpy as np

from dacapo.blockwise.outputs import in_form_of
from dacapo.blockwise.segmentation.lookup_table import SMALL, dense_numbers
from dacapo.blockwise.segmentation.plan import SegmentationPass, SegmentationPlan, open_array
from dacapo.compute_context import Step
from dacapo.utils.blocks import as_roi, slices_of
from dacapo.utils.segmentation import grow_into


@attrs.define(kw_only=True, eq=False)
class Relabeling(SegmentationPass):
    """Writes the labels of a block to the output."""

    @classmethod
    def of(cls, plan: SegmentationPlan, folder: Path) -> Self:
        """Make the pass, with context only if segments grow."""
        growth = plan.growth if plan.absorb_below > 1 or plan.fill_background else plan.growth * 0
        return attrs.evolve(super().of(plan, folder), before=growth, after=growth)

    @property
    def step(self) -> Step:
        return Step.RELABEL

    @property
    def name(self) -> str:
        return "relabel"

    def open(self) -> None:
        self.fragments = open_array(self.workspace.fragments)
        self.target = open_array(self.output, "a")
        self.first = np.load(self.workspace.first_file, mmap_mode="r", allow_pickle=False)
        self.labels = np.load(self.workspace.labels_file, mmap_mode="r", allow_pickle=False)

    def process(self, block: daisy.Block) -> None:
        import fastremap

        plan, write_roi = self.plan, as_roi(block.write_roi)
        roi = as_roi(block.read_roi).intersect(self.region)
        ids, rank = fastremap.unique(self.fragments[roi], return_inverse=True)
        rank = rank.reshape(tuple(roi.shape / plan.voxel_size))
        table = np.zeros(len(ids), dtype=np.uint64)
        table[ids > 0] = self.labels[dense_numbers(ids[ids > 0], self.first, plan.block_voxels)]
        free = table == SMALL
        table[free] = 0
        if plan.fill_background:
            free = table == 0
        labels = table[rank]
        if free.any():
            labels = grow_into(labels, free[rank])
        written = labels[slices_of(write_roi, roi, plan.voxel_size)].astype(self.target.dtype)
        self.target[write_roi] = in_form_of(self.target, written, None)
