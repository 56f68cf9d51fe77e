"""Copying an array block by block, into Zarr or into any other format."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attrs
import daisy.v2 as daisy
import numpy as np
import numpy.typing as npt
from funlib.geometry import Roi

from dacapo.blockwise.journal.identity import config_identities
from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.outputs import create_output
from dacapo.compute_context import Step
from dacapo.experiments.datasplits.datasets.arrays import ArrayConfig, ZarrArray
from dacapo.experiments.datasplits.datasets.arrays.channels import channels_first
from dacapo.experiments.datasplits.datasets.arrays.view import build
from dacapo.store.converter import to_plain
from dacapo.store.files import is_folder, remove_file
from dacapo.store.folders import remove_folder
from dacapo.utils.downsampling import METHODS

from .formats import WRITERS
from .layout import Layout
from .writers import Writer

# A worker takes about as long to start as to copy this many voxels.
_VOXELS_PER_WORKER = 2**27


@attrs.define(kw_only=True, eq=False)
class Conversion(BlockwiseOperation):
    """Copies an array, with its channels in front.

    Attributes:
        source: The array to read.
    """

    source: ArrayConfig

    def parameters(self) -> dict[str, Any]:
        return {**super().parameters(), "inputs": config_identities(to_plain(self.source))}

    @property
    def step(self) -> Step:
        return Step.CONVERT

    def most_workers(self) -> int:
        voxels: int = math.prod(self.region.shape / build(self.source).voxel_size)
        return max(1, voxels // _VOXELS_PER_WORKER)

    def open(self) -> None:
        self.array = build(self.source)

    def values_of(self, block: daisy.Block) -> tuple[Roi, npt.NDArray[Any]]:
        """Return the part of a block that the array has, and its values."""
        roi = Roi(block.write_roi.offset, block.write_roi.shape).intersect(self.array.roi)
        return roi, channels_first(self.array[roi], self.array.channel_axis, add_missing=False)


@attrs.define(kw_only=True, eq=False)
class Copy(Conversion):
    """Writes an array as Zarr.

    Attributes:
        metadata: Attributes of the output.
    """

    metadata: dict[str, Any]

    def create_output(self) -> None:
        array = build(self.source)
        channels = None if array.channel_axis is None else array.num_channels
        origin = {"operation": "convert"}
        create_output(
            self.output, array, self.region, self.block_shape, channels, array.dtype, True, origin, self.metadata
        )

    def open(self) -> None:
        super().open()
        self.target = ZarrArray.open_from_array_identifier(self.output)

    def process(self, block: daisy.Block) -> None:
        roi, values = self.values_of(block)
        self.target[roi] = values


@attrs.define(kw_only=True, eq=False)
class Export(Conversion):
    """Writes an array in another format. The array that ``output`` names is only the place of the journal.

    Attributes:
        file_format: Name of the format.
        path: The file or folder to write to.
        dataset: Name of the array inside a file.
        factors: How many times larger voxels become, per spatial axis; None for the array itself.
        made_by: For a smaller level, the id of the journal of the level that it is made from.
        method: ``mean`` or ``mode`` of the voxels that become one.
    """

    file_format: str
    path: str
    dataset: str
    factors: list[int] | None = None
    method: str = "mean"
    made_by: str = ""

    def parameters(self) -> dict[str, Any]:
        # A level is known by the one that it is made from; a file that describes all of them changes with each.
        omitted = "made_by" if self.factors is None else "inputs"
        return {key: value for key, value in super().parameters().items() if key != omitted}

    def writer(self) -> Writer:
        """Return what writes the array."""
        layout = Layout.like(build(self.source))
        if self.factors is not None:
            layout = layout.coarser(self.factors)
        return WRITERS[self.file_format](Path(self.path), self.dataset, layout)

    def most_workers(self) -> int:
        return 1 if WRITERS[self.file_format].alone else super().most_workers()

    def create_output(self) -> None:
        if self.factors is None:
            path = Path(self.path)
            remove_folder(path) if is_folder(path) else remove_file(path, missing_ok=True)
        self.writer().create()

    def open(self) -> None:
        super().open()
        self.target = self.writer()

    def process(self, block: daisy.Block) -> None:
        roi, values = self.values_of(block)
        if self.factors is not None:
            leading = [1] * (values.ndim - len(self.factors))
            values = METHODS[self.method](values, [*leading, *self.factors])
            roi = Roi(block.write_roi.offset, block.write_roi.shape).intersect(self.target.layout.roi)
        self.target.write(self.target.layout.index(roi), np.ascontiguousarray(values))
