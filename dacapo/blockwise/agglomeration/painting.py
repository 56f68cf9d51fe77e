"""The last pass: write the segments of one threshold."""

from __future__ import annotations

from pathlib import Path

import attrs
import daisy.v2 as daisy
import numpy as np

from dacapo.blockwise.agglomeration.fragment_graph import SegmentTable
from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.outputs import ORIGIN, in_form_of
from dacapo.compute_context import Step
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray, open_identifier
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.blocks import as_roi

_FIRST, _SEGMENTS = "first.npy", "segments.npy"


@attrs.define(kw_only=True, eq=False)
class PaintSegments(BlockwiseOperation):
    """Writes the segment of each voxel.

    Attributes:
        input: The array of fragments.
        folder: Holds the table of segments.
        tile_voxels: Number of voxels of a tile.
    """

    input: LocalArrayIdentifier
    folder: Path
    tile_voxels: int

    @property
    def step(self) -> Step:
        return Step.RELABEL

    @property
    def name(self) -> str:
        return "segments"

    def create_output(self) -> None:
        source = open_identifier(self.input)
        ZarrArray.create_from_array_identifier(
            self.output,
            source.axes,
            self.region,
            None,
            source.voxel_size,
            np.uint64,
            write_size=self.block_shape,
            overwrite=True,
            world=source.world,
            attributes={ORIGIN: {"operation": "agglomeration"}},
        )

    def open(self) -> None:
        self.source = open_identifier(self.input)
        self.target = ZarrArray.open_from_array_identifier(self.output, mode="a")
        first, segments = (
            np.load(self.folder / name, mmap_mode="r", allow_pickle=False) for name in (_FIRST, _SEGMENTS)
        )
        self.table = SegmentTable(first, segments, self.tile_voxels)

    def process(self, block: daisy.Block) -> None:
        roi = as_roi(block.write_roi)
        self.target[roi] = in_form_of(self.target, self.table.of(self.source[roi]), None)


def save_table(table: SegmentTable, folder: Path) -> None:
    """Write a table of segments for workers."""
    np.save(folder / _FIRST, table.first)
    spare = np.zeros(1, dtype=np.uint64)  # an empty file could not be mapped into memory
    np.save(folder / _SEGMENTS, np.concatenate([table.segments, spare]))
