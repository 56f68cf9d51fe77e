"""Agglomeration of a prediction in blocks, for one or several parameters."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate

from dacapo.blockwise.agglomeration.fragment_graph import FragmentGraph, FragmentGraphPlan, stored_graph
from dacapo.blockwise.agglomeration.painting import PaintSegments, save_table
from dacapo.blockwise.journal import Journal, journal_container, open_journal
from dacapo.blockwise.scheduling.run_operation import run_stage
from dacapo.compute_context import Execution
from dacapo.experiments.datasplits.datasets.arrays import open_identifier
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.agglomeration import Cut, segment_fragments


def agglomerate_in_blocks(
    plan: FragmentGraphPlan,
    cuts: Sequence[Cut],
    outputs: Sequence[LocalArrayIdentifier],
    what: Sequence[dict[str, Any]],
    execution: Execution,
) -> Iterator[int]:
    """Segment a prediction with several parameters, each when it is requested.

    Args:
        plan: How to make the fragment graph.
        cuts: The parameters.
        outputs: Where to write the segments of each.
        what: All that defines the result of each, for its journal.
        execution: The number of workers, the number of retries, and whether to keep earlier work.

    Yields:
        The index of parameters whose segments are written.

    Raises:
        DacapoError: If the arguments do not fit, blocks fail, or an output cannot be written.
    """
    if execution.resume is None:
        with stored_graph(plan, execution) as graph:
            for index, segments in enumerate(segment_fragments(graph.graph, graph.sizes, cuts)):
                beside = journal_container(outputs[index])
                beside.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(prefix=".segments_", dir=beside) as temporary:
                    folder = Path(temporary).resolve()
                    _paint(graph, plan.block_voxels, segments, outputs[index], folder, None, execution)
                yield index
        return
    blocks = {"block_shape": list(plan.block_voxels)}
    for index, (cut, output) in enumerate(zip(cuts, outputs, strict=True)):
        with open_journal(
            output, what[index], blocks, overwrite=execution.overwrite, resume=execution.resume
        ) as journal:
            if not journal.is_complete:
                with stored_graph(plan, execution) as graph:
                    (segments,) = segment_fragments(graph.graph, graph.sizes, [cut])
                    shape = Coordinate(journal.blocks["block_shape"])
                    _paint(graph, shape, segments, output, journal.folder.resolve(), journal, execution)
                journal.complete()
        yield index


def _paint(
    graph: FragmentGraph,
    block_shape: Coordinate,
    segments: npt.NDArray[np.uint64],
    output: LocalArrayIdentifier,
    folder: Path,
    journal: Journal | None,
    execution: Execution,
) -> None:
    source = open_identifier(graph.array)
    operation = PaintSegments(
        input=graph.array,
        output=output,
        region=source.roi,
        block_shape=block_shape * source.voxel_size,
        folder=folder,
        tile_voxels=graph.tile_voxels,
    )
    if journal is None:
        operation.create_output()
    else:
        journal.create(operation.create_output)
    save_table(graph.table(segments), folder)
    run_stage(operation, journal, execution)
