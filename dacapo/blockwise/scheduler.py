"""The two calls of this package: run a worker module over the blocks of a region, and segment an array in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import daisy.v2 as daisy
from funlib.geometry import Roi

from dacapo.blockwise.journal import Resume, check_same_work
from dacapo.blockwise.journal.identity import code_identity
from dacapo.blockwise.pyramid import write_image
from dacapo.blockwise.scheduling.run_task import run_task
from dacapo.blockwise.scheduling.task import DaCapoBlockwiseTask
from dacapo.blockwise.segmentation import SegmentationPlan, run_segmentation
from dacapo.blockwise.segmentation.segment_function import with_parameters
from dacapo.blockwise.worker.call import WorkerCall
from dacapo.blockwise.worker.job import plain_values
from dacapo.compute_context import Execution
from dacapo.errors import ConfigError
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.converter import converter
from dacapo.store.files import storage_errors


@storage_errors()
def run_blockwise(
    worker_file: str | Path,
    total_roi: Roi,
    read_roi: Roi,
    write_roi: Roi,
    num_workers: int = 16,
    max_retries: int = 1,
    timeout: float | None = None,
    upstream_tasks: Sequence[daisy.Task] | None = None,
    *args: Any,
    log_dir: Path | str | None = None,
    read_write_conflict: bool = False,
    tracking_path: Path | str | None = None,
    **kwargs: Any,
) -> bool:
    """Run a worker module over all blocks of a region.

    Workers are processes that start where the compute context of the options says. A single worker without upstream
    tasks works in this process, unless the context has ``distribute_workers`` set; ``timeout`` has no effect then.

    The parameters are those of :class:`DaCapoBlockwiseTask`. With a ``tracking_path``, a repeated call resumes an
    interrupted one; the folder also remembers worker module, arguments and regions, and refuses others. Logs are
    deleted when all blocks are done, unless you name a ``log_dir``.

    Returns:
        True; blocks that are not done raise an error.

    Raises:
        BlockwiseError: If blocks failed, or no worker could start. The message lists the blocks, their errors and where
            to read more. All other blocks are done.
        NotFoundError: If the worker module does not exist.
        ConfigError: If it is no worker module, its function does not accept the arguments, a number is out of range, or
            an argument cannot be sent to a worker.
        RoiError: If the regions do not fit together.
        OutputExistsError: If ``tracking_path`` belongs to other parameters.
    """
    task = DaCapoBlockwiseTask(  # checks all arguments before anything is written
        worker_file,
        total_roi,
        read_roi,
        write_roi,
        num_workers,
        max_retries,
        timeout,
        upstream_tasks,
        *args,
        log_dir=log_dir,
        read_write_conflict=read_write_conflict,
        tracking_path=None if tracking_path is None else Path(tracking_path) / "marks",
        **kwargs,
    )
    if tracking_path is not None:
        call = WorkerCall.of(worker_file, args, kwargs)
        rois = [[list(map(int, roi.offset)), list(map(int, roi.shape))] for roi in (total_roi, read_roi, write_roi)]
        given = converter.unstructure({"args": call.args, "kwargs": call.kwargs})
        what = {"worker": call.worker_file, "code": code_identity(call.worker_file), **given}
        check_same_work(tracking_path, plain_values({**what, "rois": rois}))
    run_task(task)
    return True


@storage_errors()
def segment_blockwise(
    segment_function_file: str | Path,
    context: Sequence[int] | int,
    total_roi: Roi,
    read_roi: Roi,
    write_roi: Roi,
    num_workers: int = 16,
    max_retries: int = 2,
    timeout: float | None = None,
    upstream_tasks: Sequence[daisy.Task] | None = None,
    keep_tmpdir: bool = False,
    *args: Any,
    input_container: Path | str | None = None,
    input_dataset: str | None = None,
    output_container: Path | str | None = None,
    output_dataset: str | None = None,
    input_array_identifier: LocalArrayIdentifier | None = None,
    output_array_identifier: LocalArrayIdentifier | None = None,
    min_overlap: float = 0.0,
    absorb_below: int = 0,
    fill_background: bool = False,
    overwrite: bool = False,
    into_existing: bool | None = None,
    pyramid: bool = True,
    **kwargs: Any,
) -> bool:
    """Segment an array in blocks, and join the segments of neighboring blocks.

    Each block is segmented with context around it. Two segments of neighboring blocks are joined if, near the common
    face, each overlaps the other in the labels of both blocks. A function that finds connected components thus gives
    exactly those of the whole volume. If the result depends on the whole volume, as that of a watershed does, more
    context makes the blocks agree better. The result does not depend on the number or the pace of workers.

    A call that was interrupted, or in which blocks failed, is resumed when it is repeated. With other arguments it is
    refused, unless it may overwrite, which starts over. Its journal is ``.<dataset>.blocks`` beside the output.

    Args:
        segment_function_file: A Python file, or the import path of a module, that defines
            ``segment_function(input_array, roi, *args, **kwargs)``. It gets the input as an
            :class:`~dacapo.experiments.datasplits.datasets.arrays.Array`, and returns labels for a region of it: whole
            numbers of the spatial shape of the region in voxels, 0 for background. It may return evidence with them, a
            real number for each voxel: a segment becomes background if its evidence in the whole volume sums up to less
            than 0. For functions that expect a block, the region has ``read_roi``, which is the same, and
            ``write_roi``. If the file defines ``check_segment_function``, that gets ``*args, **kwargs`` before anything
            is written, and can refuse them by an error.
        context: How far a block looks beyond ``read_roi`` on all sides, in world units, one number or one per axis; at
            least a voxel along axes with several blocks. The function gets less where the input ends.
        total_roi: Region to segment in world units if ``read_roi`` equals ``write_roi``; otherwise the segmented region
            is smaller by their difference.
        read_roi: The region that a block reads besides the context, relative to any origin.
        write_roi: The region that it writes, relative to the same origin and inside ``read_roi``.
        num_workers: Number of workers at most.
        max_retries: How often a failed block is tried again.
        timeout: Seconds that a block may take; no limit by default.
        upstream_tasks: Tasks that come before.
        keep_tmpdir: Whether to keep the intermediate results after success, in ``.<dataset>.blocks`` beside the output.
        *args: For the function.
        input_container: Container of the array to segment.
        input_dataset: Dataset inside it.
        output_container: Container of the segmentation.
        output_dataset: Dataset inside it. Created as uint64 if it does not exist. Segments are numbered from 1 on
            without a gap.
        input_array_identifier: The array to segment, in place of its container and dataset.
        output_array_identifier: The same for the segmentation.
        min_overlap: Join two segments only if they share more than this part of the smaller of them, counted in the
            layers of voxels on both sides of the face between their blocks. Each block counts in the layer beyond its
            own voxels, and both must agree.
        absorb_below: Segments of fewer voxels in the whole volume are absorbed by those that they touch, or removed, as
            by :func:`~dacapo.utils.segmentation.absorb_small`. The result is exact if others reach all their voxels
            within the context.
        fill_background: Whether segments also grow into the background, at most as far as the context beyond a block.
        overwrite: Whether to replace the output if this package wrote it. Otherwise nothing is done if it was
            finished with the same arguments.
        into_existing: Whether to write labels into an output that exists, so that voxels outside the region stay. By
            default true, except into an output that this package made with other arguments; True writes even there,
            once that segmentation is finished. False refuses any output that exists.
        pyramid: Whether to write smaller levels for viewers; otherwise the image has a single level.
        **kwargs: For the function. The content of a dict ``parameters`` replaces it, unless the function has a
            parameter of that name.

    Returns:
        True; failures raise an error.

    Raises:
        BlockwiseError: If blocks failed, as for :func:`run_blockwise`.
        NotFoundError: If the input or the file does not exist.
        ConfigError: If the file defines no such function or the function does not accept the arguments, a number is out
            of range, the context is too small, or blocks of the output share chunks.
        OutputExistsError: If the output exists and must be kept.
        RoiError: If regions do not fit together, or reach outside the arrays.
        DtypeError: If the type of the output cannot count the segments.
    """
    execution = Execution(
        num_workers,
        overwrite=overwrite,
        resume=Resume.of(overwrite, not overwrite),
        max_retries=max_retries,
        timeout=timeout,
    )
    plan = SegmentationPlan.of(
        _identifier("input", input_container, input_dataset, input_array_identifier),
        _identifier("output", output_container, output_dataset, output_array_identifier),
        segment_function_file,
        total_roi,
        read_roi,
        write_roi,
        context,
        **plain_values({"args": args, "kwargs": with_parameters(segment_function_file, kwargs)}),
        min_overlap=min_overlap,
        absorb_below=absorb_below,
        fill_background=fill_background,
    )
    run_segmentation(
        plan,
        execution,
        upstream_tasks=upstream_tasks,
        into_existing=False if overwrite else into_existing,
        keep=keep_tmpdir,
    )
    write_image(plan.output, execution, is_labels=True, pyramid=pyramid)
    return True


def _identifier(
    name: str, container: Path | str | None, dataset: str | None, identifier: LocalArrayIdentifier | None
) -> LocalArrayIdentifier:
    if identifier is not None and container is None and dataset is None:
        return identifier
    if identifier is None and container is not None and dataset is not None:
        return LocalArrayIdentifier(Path(container), dataset)
    raise ConfigError(
        f"got {name}_container {container}, {name}_dataset {dataset} and {name}_array_identifier {identifier}; "
        "expected container and dataset, or the identifier"
    )
