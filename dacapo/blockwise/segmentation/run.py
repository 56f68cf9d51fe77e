"""Running all passes of a segmentation."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import attrs

from dacapo.blockwise.journal import Journal, Resume, open_journal
from dacapo.blockwise.scheduling.run_operation import run_stage
from dacapo.blockwise.scheduling.workers import Workers
from dacapo.blockwise.segmentation.fragments import Fragments
from dacapo.blockwise.segmentation.lookup_table import write_lookup_table
from dacapo.blockwise.segmentation.matching import Matching
from dacapo.blockwise.segmentation.outputs import check_output, create_arrays
from dacapo.blockwise.segmentation.plan import SegmentationPlan
from dacapo.blockwise.segmentation.relabeling import Relabeling
from dacapo.blockwise.segmentation.workspace import Workspace


def run_segmentation(
    plan: SegmentationPlan,
    workers: Workers,
    *,
    overwrite: bool,
    resume: Resume | None,
    into_existing: bool | None = False,
    keep: bool = False,
) -> None:
    """Segment an array in blocks.

    Args:
        plan: The segmentation.
        workers: The workers of each pass.
        overwrite: Whether to replace an output of other parameters.
        resume: How to treat earlier work with the same parameters. None keeps no journal and starts over.
        into_existing: Whether to write into an output that exists, see
            :func:`.open_journal`.
        keep: Whether to keep the intermediate results, in the folder of the journal.

    Raises:
        DacapoError: As :func:`~dacapo.blockwise.segment_blockwise`.
    """
    if resume is None:
        plan.output.container.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".segments_", dir=plan.output.container) as temporary:
            folder = Path(temporary).resolve()
            create_arrays(plan, Workspace(folder), into_existing is not False)
            _run_passes(plan, folder, None, workers)
        return
    with open_journal(
        plan.output,
        plan.parameters(),
        plan.blocks(),
        overwrite=overwrite,
        resume=resume,
        fixed_blocks=True,
        into_existing=into_existing,
        check=functools.partial(check_output, plan),
    ) as journal:
        if journal.is_complete:
            return
        folder = journal.folder.resolve()
        journal.create(functools.partial(create_arrays, plan, Workspace(folder), journal.into_existing))
        _run_passes(plan, folder, journal, workers)
        if not keep:
            Workspace(folder).remove()
        journal.complete()


def _run_passes(plan: SegmentationPlan, folder: Path, journal: Journal | None, workers: Workers) -> None:
    run_stage(Fragments.of(plan, folder), journal, workers)
    workers = attrs.evolve(workers, upstream_tasks=None)
    run_stage(Matching.of(plan, folder), journal, workers)
    write_lookup_table(plan, Workspace(folder))
    run_stage(Relabeling.of(plan, folder), journal, workers)
