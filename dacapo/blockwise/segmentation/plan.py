"""All that defines a segmentation in blocks, and the base class of its passes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.journal.identity import CLASS_KEY, array_identity, code_identity
from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.segmentation.joining import check_min_overlap
from dacapo.blockwise.segmentation.segment_function import check_segment_function
from dacapo.blockwise.segmentation.workspace import Workspace
from dacapo.compute_context import Step
from dacapo.errors import ConfigError, RoiError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray, open_identifier
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.converter import converter
from dacapo.store.files import is_file
from dacapo.utils.blocks import BlockGrid, shell, written_region

# The name in journals, from before there were plans.
_CLASS = "dacapo.blockwise.segmentation:Segmentation"

# Number of blocks whose fragments a worker holds in memory at once.
_RUN = 256


@attrs.frozen(kw_only=True)
class SegmentationPlan:
    """A segmentation in blocks; all regions and extents are in world units.

    Attributes:
        input: The array to segment.
        output: The array for the labels.
        function_file: Module with the function that segments.
        args: For the function.
        kwargs: For the function.
        region: The region to segment.
        before: The context of a block towards lower coordinates.
        after: The context towards higher coordinates.
        block_shape: Shape of a block.
        voxel_size: Of input and output.
        depth: Width of the halo in which blocks compare their segments, at most a block; it ends with the context.
        min_overlap: See :func:`.overlapping_pairs`.
        absorb_below: Segments with fewer voxels are absorbed, as by :func:`~dacapo.utils.segmentation.absorb_small`.
        fill_background: Whether segments grow into the background too.
        growth: How far segments may grow beyond a block.
    """

    input: LocalArrayIdentifier
    output: LocalArrayIdentifier
    function_file: str
    args: list[Any] = attrs.field(factory=list)
    kwargs: dict[str, Any] = attrs.field(factory=dict)
    region: Roi
    before: Coordinate
    after: Coordinate
    block_shape: Coordinate
    voxel_size: Coordinate
    depth: Coordinate = attrs.field(default=attrs.Factory(lambda self: self.voxel_size, takes_self=True))
    min_overlap: float = 0.0
    absorb_below: int = 0
    fill_background: bool = False
    growth: Coordinate

    @classmethod
    def of(
        cls,
        input_identifier: LocalArrayIdentifier,
        output_identifier: LocalArrayIdentifier,
        function_file: str | Path,
        total_roi: Roi,
        read_roi: Roi,
        write_roi: Roi,
        context: Sequence[int] | int,
        **more: Any,
    ) -> Self:
        """Plan and check a segmentation from the arguments of :func:`~dacapo.blockwise.segment_blockwise`.

        Raises:
            DacapoError: If something does not fit.
        """
        check_segment_function(function_file, more.get("args", ()), more.get("kwargs", {}))
        array = open_identifier(input_identifier)
        region = written_region(total_roi, read_roi, write_roi)
        array.check_roi(region)
        around = _as_coordinate(context, array.dims)
        plan = cls(
            input=input_identifier,
            output=output_identifier,
            function_file=str(Path(function_file).resolve()) if is_file(function_file) else str(function_file),
            region=region,
            before=write_roi.begin - read_roi.begin + around,
            after=read_roi.end - write_roi.end + around,
            block_shape=Coordinate(write_roi.shape),
            voxel_size=array.voxel_size,
            growth=around,
            **more,
        )
        plan.check()
        return plan

    def check(self) -> None:
        """Check that blocks fit together, and that their segments can be numbered.

        Raises:
            DacapoError: If not.
        """
        check_min_overlap(self.min_overlap)
        if self.absorb_below < 0:
            raise ConfigError(f"absorb_below is {self.absorb_below}; expected a number of voxels, 0 for none")
        for name, value in (("context", self.before), ("context", self.after), ("size of blocks", self.block_shape)):
            if any(value % self.voxel_size):
                raise RoiError(f"the {name} {value} is no multiple of the voxel size {self.voxel_size}")
        if any(
            count > 1 and min(before, after) < voxel
            for count, before, after, voxel in zip(
                self.grid.shape, self.before, self.after, self.voxel_size, strict=True
            )
        ):
            raise ConfigError(
                f"blocks see {self.before} and {self.after} beyond what they write; to join their segments they need "
                f"a context of at least one voxel, {self.voxel_size}"
            )
        if self.grid.count * self.block_voxels >= 1 << 63:
            raise ConfigError(f"{self.region} has too many voxels to number its segments")

    @property
    def grid(self) -> BlockGrid:
        """The blocks."""
        return BlockGrid(self.region, self.block_shape)

    @property
    def runs(self) -> BlockGrid:
        """The blocks in runs of consecutive numbers, whose fragments are gathered together."""
        return self.grid.runs(_RUN)

    @property
    def block_voxels(self) -> int:
        """Number of voxels that a block writes."""
        return math.prod(int(extent) for extent in self.block_shape / self.voxel_size)

    def parameters(self) -> dict[str, Any]:
        """Return everything that defines the result, for the journal."""
        inputs = {"input": array_identity(self.input)}
        fields: dict[str, Any] = converter.unstructure(self)
        if not self.fill_background:  # then the journal is that of earlier versions
            del fields["fill_background"]
        return {CLASS_KEY: _CLASS, **fields, "inputs": inputs, "code": code_identity(self.function_file)}

    def blocks(self) -> dict[str, Any]:
        """Return how the region is cut into blocks, for the journal."""
        return {"block_shape": [int(extent) for extent in self.block_shape]}

    def seen(self, block: Roi) -> Roi:
        """Return the region of a block and its halo, as far as it lies in the context and in the region to segment."""
        before, after = (Coordinate(map(min, self.depth, context)) for context in (self.before, self.after))
        return block.grow(before, after).intersect(self.region)

    def halo(self, block: Roi) -> Iterator[Roi]:
        """Yield regions that together are the halo of a block."""
        return shell(block, self.seen(block))


@attrs.define(kw_only=True, eq=False)
class SegmentationPass(BlockwiseOperation):
    """One pass over the blocks of a segmentation.

    Attributes:
        plan: The segmentation.
        workspace: Its intermediate results.
    """

    plan: SegmentationPlan
    workspace: Workspace

    @property
    def step(self) -> Step:
        return Step.MATCH

    @classmethod
    def of(cls, plan: SegmentationPlan, folder: Path) -> Self:
        """Make the pass of a plan, with intermediate results in a folder."""
        return cls(
            plan=plan,
            workspace=Workspace(folder),
            output=plan.output,
            region=plan.region,
            block_shape=plan.block_shape,
            before=plan.before,
            after=plan.after,
        )


def open_array(identifier: LocalArrayIdentifier, mode: str = "r") -> ZarrArray:
    """Open an array that this package writes, by default for reading."""
    return ZarrArray.open_from_array_identifier(identifier, mode=mode)


def _as_coordinate(context: Sequence[int] | int, dims: int) -> Coordinate:
    values = (context,) * dims if isinstance(context, (int, np.integer)) else tuple(context)
    if len(values) != dims or any(value < 0 for value in values):
        raise ConfigError(f"context is {context}; expected a number for each of {dims} axes, or one for all, from 0 on")
    return Coordinate(values)
