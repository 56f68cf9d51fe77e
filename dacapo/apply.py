"""Apply a trained run to a new volume: predict, then post-process."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Roi

from dacapo.blockwise.journal import Resume, check_free, is_complete
from dacapo.blockwise.outputs import output_exists, prepare_container
from dacapo.blockwise.pyramid import holds_labels, write_image
from dacapo.compute_context import Execution
from dacapo.experiments.block_plan import plan_blocks
from dacapo.experiments.datasplits.datasets.arrays import ArrayConfig, ZarrArray
from dacapo.experiments.datasplits.datasets.arrays.ome_images import name_dataset
from dacapo.experiments.datasplits.datasets.arrays.world import placed_roi
from dacapo.experiments.run import Run
from dacapo.experiments.selection import Selection, select
from dacapo.experiments.tasks.post_processors import PostProcessorParameters
from dacapo.experiments.trained_model import TrainedModel
from dacapo.inference.inputs import (
    ORIGIN,
    config_for_workers,
    input_source,
    open_raw,
    output_container,
    raw_config_of,
    source_path,
)
from dacapo.inference.prediction import predict_array
from dacapo.inference.tta import with_tta
from dacapo.options import Options
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_weights_store
from dacapo.store.files import storage_errors
from dacapo.utils.world_text import PhysicalRoi, parse_roi

logger = logging.getLogger(__name__)


@attrs.frozen
class Applied:
    """The arrays that :func:`apply` wrote, and the checkpoint and parameters that it chose."""

    output: LocalArrayIdentifier
    prediction: LocalArrayIdentifier
    selection: Selection


@Options.kept()
@storage_errors()
def apply(
    run_name: str | Run | TrainedModel,
    input_container: Path | str | ArrayConfig,
    input_dataset: str | None,
    output_path: Path | str,
    validation_dataset: str | None = None,
    criterion: str = "voi",
    iteration: int | None = None,
    parameters: PostProcessorParameters | str | None = None,
    roi: Roi | str | None = None,
    num_workers: int | None = None,
    output_dtype: npt.DTypeLike = np.uint8,
    overwrite: bool = True,
    file_format: str = "zarr",
    resume: bool = True,
    max_memory: str | int | None = None,
    precision: str = "float32",
    tta: str = "none",
    pyramid: bool = True,
) -> Applied:
    """Segment a volume with the best checkpoint and parameters of a run.

    All arguments are checked before any work begins. If a call was interrupted, or some of its blocks failed, the same
    call does only the missing work; see :mod:`dacapo.blockwise.journal`.

    Args:
        run_name: Name of a stored run, or a run or its model, which then gets the weights of the checkpoint.
        input_container: File or container of the raw data, or the config of an array, as in
            :func:`dacapo.predict.predict`.
        input_dataset: Dataset inside it; None or empty for files of one array, and for configs.
        output_path: Container for the results, or a folder for a container of the input's name. It gets the datasets
            ``prediction_<run>_<iteration>`` and ``labels/<run>_<iteration>_<digest of the parameters>/s0``, which is
            also found as ``output_<run>_<iteration>_<parameters>``. Both are OME-NGFF images with smaller levels, see
            :mod:`dacapo.blockwise.pyramid`.
        validation_dataset: The validation dataset whose scores decide; by default the mean over all of them.
        criterion: The score that decides; if each channel has its own, one name stands for their mean.
        iteration: Checkpoint to use, by default the best one.
        parameters: Post-processing parameters, or their ``str``, such as
            ``"ThresholdPostProcessorParameters(id=5, threshold=131)"``; by default the best ones. A validation need not
            have tried them.
        roi: Region in world units, also as text such as ``"[0:80,0:80,0:80]"``, or in lengths, such as
            ``"[0:1.5um,0:524nm,0:524nm]"``; the whole volume by default.
        num_workers: Maximum number of worker processes; see :mod:`dacapo.compute_context.worker_count`.
        output_dtype: Type of the prediction, as in :func:`dacapo.predict.predict`.
        overwrite: Whether to replace earlier results, finished or of other parameters. Otherwise finished results of
            the same parameters are kept, and others are an error. Data that dacapo did not write is never replaced.
        file_format: ``zarr`` writes OME-NGFF 0.4 in Zarr v2, ``zarr3`` OME-NGFF 0.5 in Zarr v3 with shards, if the
            container is new.
        resume: Whether to resume unfinished work of the same parameters; otherwise it starts over.
        max_memory: Limit on the memory of all processes together, such as ``"8GB"``. It applies to predicting, as in
            :func:`dacapo.predict.predict`, and to post-processing, where it can change the result of the mutex
            watershed; see
            :class:`~dacapo.experiments.tasks.post_processors.watershed_post_processor.WatershedPostProcessor`.
        precision: Precision of the network, ``float32`` or ``bfloat16``.
        tta: Test-time augmentation: ``"flips"`` averages the predictions for mirrored raw data, ``"turns"`` also those
            for raw data turned by 90 degrees; see :mod:`dacapo.inference.tta`.
        pyramid: Whether to write smaller levels for viewers; otherwise the image has a single level.

    Raises:
        NotFoundError: If the run, checkpoint, volume, dataset, criterion, or set of parameters does not exist.
        RoiError: If the region is not inside the volume, or the volume is smaller than the network's input.
        ChannelMismatchError: If the volume does not have the number of channels that the network takes.
        OutputExistsError: If an output exists and must be kept.
        MemoryBudgetError: If not even the smallest block fits into the memory; it says how much is enough.
        BlockwiseError: If blocks failed; all others are done.
    """
    execution = Execution(num_workers, max_memory, precision, overwrite, Resume.of(overwrite, resume), tta=tta)
    run, region = TrainedModel.of(run_name), parse_roi(roi)
    source = input_source(input_container, input_dataset)
    container = output_container(output_path, source_path(source))
    selection = select(run, criterion, validation_dataset, iteration, parameters)
    prediction = LocalArrayIdentifier(container, f"prediction_{run.name}_{selection.iteration}")
    long_name = f"output_{run.name}_{selection.iteration}_{selection.parameters}"
    output = _output_identifier(container, long_name, run.name, selection)
    logger.info("%s", selection.reason)
    arrays = _Arrays(source, prediction, output, region, file_format, pyramid)
    _apply(run, selection.iteration, selection.parameters, arrays, output_dtype, execution)
    if output.dataset != long_name:
        name_dataset(container, long_name, output.dataset)
    return Applied(output, prediction, selection)


def _output_identifier(container: Path, long_name: str, run_name: str, selection: Selection) -> LocalArrayIdentifier:
    """Return where a segmentation goes: among the labels of the prediction, or where an earlier version put it."""
    earlier = LocalArrayIdentifier(container, long_name)
    if output_exists(earlier):
        return earlier
    digest = hashlib.blake2b(str(selection.parameters).encode(), digest_size=4).hexdigest()
    return LocalArrayIdentifier(container, f"labels/{run_name}_{selection.iteration}_{digest}/s0")


@Options.kept()
@storage_errors()
def apply_run(
    run: Run | TrainedModel,
    iteration: int,
    parameters: PostProcessorParameters,
    input_array_identifier: LocalArrayIdentifier | ArrayConfig,
    prediction_array_identifier: LocalArrayIdentifier,
    output_array_identifier: LocalArrayIdentifier,
    roi: Roi | str | None = None,
    num_workers: int | None = None,
    output_dtype: npt.DTypeLike = np.uint8,
    overwrite: bool = True,
    resume: bool = True,
    max_memory: str | int | None = None,
    precision: str = "float32",
    tta: str = "none",
    pyramid: bool = True,
) -> LocalArrayIdentifier:
    """Segment a volume with a given checkpoint and given parameters; see :func:`apply`.

    Returns:
        The identifier of the output.
    """
    arrays = _Arrays(
        input_array_identifier,
        prediction_array_identifier,
        output_array_identifier,
        parse_roi(roi),
        pyramid=pyramid,
    )
    execution = Execution(num_workers, max_memory, precision, overwrite, Resume.of(overwrite, resume), tta=tta)
    _apply(TrainedModel.of(run), iteration, parameters, arrays, output_dtype, execution)
    return output_array_identifier


@attrs.frozen
class _Arrays:
    """The arrays to read and write, and the region; None stands for all of the raw data."""

    raw: LocalArrayIdentifier | ArrayConfig
    prediction: LocalArrayIdentifier
    output: LocalArrayIdentifier
    roi: Roi | PhysicalRoi | None
    file_format: str = "zarr"
    pyramid: bool = True


def _apply(
    run: TrainedModel,
    iteration: int,
    parameters: PostProcessorParameters,
    arrays: _Arrays,
    output_dtype: npt.DTypeLike,
    execution: Execution,
) -> None:
    raw = open_raw(run.config, arrays.raw)
    region = None if arrays.roi is None else placed_roi(arrays.roi, raw.world)
    plan_blocks(with_tta(run, raw.voxel_size, execution.tta).model, raw, region)
    for identifier in (arrays.prediction, arrays.output):
        check_free(identifier, execution.overwrite, execution.resume is not Resume.NEVER)
    create_weights_store().load_model(run, iteration)
    prepare_container(arrays.prediction.container, arrays.file_format)
    origin = {"operation": "apply", "run": run.name, "iteration": iteration, "parameters": str(parameters)}
    # Until the output is finished, a finished prediction is part of the work to resume.
    is_part = execution.resume is Resume.UNFINISHED and not is_complete(arrays.output)
    predict_array(
        run,
        raw,
        arrays.prediction,
        attrs.evolve(execution, resume=Resume.ALWAYS) if is_part else execution,
        output_roi=region,
        output_dtype=output_dtype,
        metadata={ORIGIN: origin},
        iteration=iteration,
        raw_config=config_for_workers(raw_config_of(run.config, arrays.raw)),
    )
    run.task.post_processor.set_prediction(arrays.prediction)
    run.task.post_processor.process_within(parameters, arrays.output, execution)
    output = ZarrArray.open_from_array_identifier(arrays.output)
    output.add_metadata({ORIGIN: origin})
    write_image(arrays.prediction, execution, is_labels=False, pyramid=arrays.pyramid)
    write_image(arrays.output, execution, holds_labels(output), arrays.pyramid)
