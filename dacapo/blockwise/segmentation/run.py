"""Running all passes of a segmentation."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import daisy.v2 as daisy

from dacapo.blockwise.journal import Journal, journal_container, open_journal
from dacapo.blockwise.scheduling.run_operation import run_stage
from dacapo.blockwise.segmentation.fragments import Fragments
from dacapo.blockwise.segmentation.gathering import Gathering
from dacapo.blockwise.segmentation.lookup_table import write_lookup_table
from dacapo.blockwise.segmentation.matching import Matching
from dacapo.blockwise.segmentation.outputs import check_output, create_arrays
from dacapo.blockwise.segmentation.plan import SegmentationPlan
from dacapo.blockwise.segmentation.relabeling import Relabeling
from dacapo.blockwise.segmentation.workspace import Workspace
from dacapo.compute_context import Execution
from dacapo.store.files import is_file


def run_segmentation(
    plan: SegmentationPlan,
    execution: Execution,
    *,
    upstream_tasks: Sequence[daisy.Task] | None = None,
    into_existing: bool | None = False,
    keep: bool = False,
) -> None:
    """Segment an array in blocks.

    Args:
        plan: The segmentation.
        execution: The number of workers of each pass, the number of retries, and whether to keep earlier work.
        upstream_tasks: Daisy tasks that come before the first pass.
        into_existing: Whether to write into an output that exists, see :func:`.open_journal`.
        keep: Whether to keep the intermediate results, in the folder of the journal.

    Raises:
        DacapoError: As :func:`~dacapo.blockwise.segment_blockwise`.
    """
    if execution.resume is None:
        beside = journal_container(plan.output)
        beside.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".segments_", dir=beside) as temporary:
            folder = Path(temporary).resolve()
            create_arrays(plan, Workspace(folder), into_existing is not False)
            _run_passes(plan, folder, None, execution, upstream_tasks)
        return
    with open_journal(
        plan.output,
        plan.parameters(),
        plan.blocks(),
        overwrite=execution.overwrite,
        resume=execution.resume,
        fixed_blocks=True,
        into_existing=into_existing,
        check=functools.partial(check_output, plan),
    ) as journal:
        folder = journal.folder.resolve()
        if not journal.is_complete:
            journal.create(functools.partial(create_arrays, plan, Workspace(folder), journal.into_existing))
            _run_passes(plan, folder, journal, execution, upstream_tasks)
            journal.complete()
        # Afterwards: a process that is killed in between could not go on without them.
        if not keep:
            Workspace(folder).remove()


def _run_passes(
    plan: SegmentationPlan,
    folder: Path,
    journal: Journal | None,
    execution: Execution,
    upstream_tasks: Sequence[daisy.Task] | None,
) -> None:
    run_stage(Fragments.of(plan, folder), journal, execution, upstream_tasks=upstream_tasks)
    run_stage(Matching.of(plan, folder), journal, execution)
    _join(plan, folder, journal, execution)
    run_stage(Relabeling.of(plan, folder), journal, execution)


def _join(plan: SegmentationPlan, folder: Path, journal: Journal | None, execution: Execution) -> None:
    """Join the fragments of all blocks, unless an earlier call did."""
    workspace = Workspace(folder)
    if not is_file(workspace.labels_file):
        gathering = Gathering.of(plan, folder)
        run_stage(gathering, journal, execution, in_process=gathering.most_workers() == 1)
        write_lookup_table(plan, workspace)
