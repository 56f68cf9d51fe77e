"""Copying an array block by block, into Zarr v2 or into any other format."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attrs
import daisy.v2 as daisy
import numpy as np
import numpy.typing as npt
from funlib.geometry import Roi

from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.voxelwise import VoxelwiseOperation
from dacapo.experiments.datasplits.datasets.arrays import open_identifier
from dacapo.experiments.datasplits.datasets.arrays.channels import channels_first
from dacapo.store.array_store import LocalArrayIdentifier

from .layout import Layout
from .writers import WRITERS, Writer

# A worker takes about as long to start as to copy this many voxels.
_VOXELS_PER_WORKER = 2**27


@attrs.define(kw_only=True, eq=False)
class Copy(VoxelwiseOperation):
    """Writes an array as Zarr v2."""

    def compute(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return values


@attrs.define(kw_only=True, eq=False)
class Export(BlockwiseOperation):
    """Writes an array in another format. The array that ``output`` names is only the place of the journal.

    Attributes:
        input: The array to read.
        file_format: Name of the format.
        path: The file or folder to write to.
        dataset: Name of the array inside a file.
    """

    input: LocalArrayIdentifier
    file_format: str
    path: str
    dataset: str

    def writer(self) -> Writer:
        """Return what writes the array."""
        return WRITERS[self.file_format](Path(self.path), self.dataset, Layout.like(open_identifier(self.input)))

    def most_workers(self) -> int:
        if WRITERS[self.file_format].alone:
            return 1
        voxels: int = math.prod(self.region.shape / open_identifier(self.input).voxel_size)
        return max(1, voxels // _VOXELS_PER_WORKER)

    def create_output(self) -> None:
        self.writer().create()

    def open(self) -> None:
        self.source = open_identifier(self.input)
        self.target = self.writer()

    def process(self, block: daisy.Block) -> None:
        roi = Roi(block.write_roi.offset, block.write_roi.shape).intersect(self.source.roi)
        values = channels_first(self.source[roi], self.source.channel_axis, add_missing=False)
        self.target.write(self.target.layout.index(roi), np.ascontiguousarray(values))
