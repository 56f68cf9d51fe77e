"""Creating the arrays of a segmentation, and checking an output that exists."""

from __future__ import annotations

import shutil

import numpy as np
from funlib.geometry import Coordinate

from dacapo.blockwise.outputs import ORIGIN, output_exists
from dacapo.blockwise.segmentation.plan import SegmentationPlan, open_array
from dacapo.blockwise.segmentation.workspace import Workspace
from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray, open_identifier
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.paths import shown
from dacapo.utils.wording import in_channels

_CHUNK_EDGES = (16, 64)
"""Range of the edges of chunks of fragments, provided that one of them divides a block."""


def create_arrays(plan: SegmentationPlan, workspace: Workspace, keep_output: bool) -> None:
    """Create the output and the array of fragments.

    Args:
        plan: The segmentation.
        workspace: Its intermediate results.
        keep_output: Whether to write into an output that exists, instead of replacing it.

    Raises:
        ConfigError: If the existing output cannot be written in such blocks.
    """
    if not keep_output or not output_exists(plan.output):
        _create(plan, plan.output, plan.block_shape)
    check_output(plan)
    shutil.rmtree(workspace.fragments.container, ignore_errors=True)
    chunk = Coordinate(map(_chunk_edge, plan.block_shape / plan.voxel_size)) * plan.voxel_size
    _create(plan, workspace.fragments, chunk)


def check_output(plan: SegmentationPlan) -> None:
    """Check that labels can be written to the existing output.

    Raises:
        DacapoError: If its axes, voxels, values or region do not fit, or blocks would share its chunks.
    """
    output = open_array(plan.output)
    where = shown(plan.output.container / plan.output.dataset)
    output.check_roi(plan.region)
    if output.dtype.kind not in "iu" or output.num_channels not in (None, 1) or output.voxel_size != plan.voxel_size:
        raise ConfigError(
            f"{where} holds {output.dtype} in {in_channels(output.num_channels or 1)} with voxel size "
            f"{output.voxel_size}; labels need whole numbers, a single channel and voxel size {plan.voxel_size}"
        )
    first = (plan.region.begin - output.roi.begin) / plan.voxel_size
    step = plan.block_shape / plan.voxel_size
    chunks = [chunk for axis, chunk in zip(output.axes, output.chunks, strict=True) if axis != "c"]
    if any(
        count > 1 and (begin % chunk or size % chunk)
        for count, begin, size, chunk in zip(plan.grid.shape, first, step, chunks, strict=True)
    ):
        raise ConfigError(
            f"the chunks of {where} are {tuple(chunks)} voxels, so that blocks of {step} would write to the "
            "same chunk at once; name a new output, or blocks of whole chunks"
        )


def _create(plan: SegmentationPlan, identifier: LocalArrayIdentifier, write_size: Coordinate) -> None:
    """Create an array of labels; it replaces an existing one, which the journal has allowed."""
    source = open_identifier(plan.input)
    ZarrArray.create_from_array_identifier(
        identifier,
        [axis for axis in source.axes if axis not in ("b", "c")],
        plan.region,
        None,
        plan.voxel_size,
        np.uint64,
        write_size=write_size,
        overwrite=True,
        world=source.world,
        attributes={ORIGIN: {"operation": "segment_blockwise", "function": plan.function_file}},
    )


def _chunk_edge(block_edge: int) -> int:
    """Return the edge of chunks that let a halo be read without reading whole blocks."""
    low, high = _CHUNK_EDGES
    edges = [edge for edge in range(low, high + 1) if block_edge % edge == 0]
    return max(edges, default=block_edge)
