"""Predict a volume with one checkpoint of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from funlib.geometry import Roi

from dacapo.blockwise.journal import Resume, check_free
from dacapo.blockwise.outputs import prepare_container
from dacapo.blockwise.pyramid import write_image
from dacapo.compute_context import Execution
from dacapo.experiments.block_plan import plan_blocks
from dacapo.experiments.datasplits.datasets.arrays import ArrayConfig
from dacapo.experiments.datasplits.datasets.arrays.world import placed_roi
from dacapo.experiments.run import Run
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
from dacapo.utils.world_text import parse_roi


@Options.kept()
@storage_errors()
def predict(
    run_name: str | Run | TrainedModel,
    iteration: int,
    input_container: Path | str | ArrayConfig,
    input_dataset: str | None,
    output_path: LocalArrayIdentifier | Path | str,
    output_roi: Roi | str | None = None,
    num_workers: int | None = None,
    output_dtype: npt.DTypeLike = np.uint8,
    overwrite: bool = True,
    resume: bool = True,
    max_memory: str | int | None = None,
    precision: str = "float32",
    file_format: str = "zarr",
    tta: str = "none",
    pyramid: bool = True,
) -> LocalArrayIdentifier:
    """Predict a volume with a checkpoint, block by block.

    All arguments are checked before any work begins. If a call was interrupted, or some of its blocks failed, the same
    call does only the missing blocks; see :mod:`dacapo.blockwise.journal`. Raw data is changed as in training; see
    :func:`dacapo.inference.inputs.open_raw`.

    Args:
        run_name: Name of a stored run, or a run or its model, which then gets the weights of the checkpoint.
        iteration: Iteration of the checkpoint.
        input_container: File or container of the raw data, in any format that
            :func:`~dacapo.experiments.datasplits.datasets.arrays.open_array` opens; or a config of an array, which can
            override what the file says.
        input_dataset: Dataset inside it; None or empty for files of one array, and for configs.
        output_path: The array to write; or a container that gets the dataset ``prediction_<run>_<iteration>``; or a
            folder for a container of the input's name. Smaller levels lie beside the array, and its group lists all of
            them as an OME-NGFF image; see :mod:`dacapo.blockwise.pyramid`.
        output_roi: Region in world units, also as text such as ``"[0:80,0:80,0:80]"``, or in lengths, such as
            ``"[0:1.5um,0:524nm,0:524nm]"``; the whole volume by default.
        num_workers: Maximum number of worker processes; see :mod:`dacapo.compute_context.worker_count`.
        output_dtype: ``uint8`` scales the range of the prediction to 0..255, float types keep it.
        overwrite: Whether to replace an earlier result, finished or of other parameters. Otherwise a finished result of
            the same parameters is kept, and another one is an error. Data that dacapo did not write is never replaced.
        resume: Whether to resume unfinished work of the same parameters; otherwise it starts over.
        max_memory: Limit on the memory of all processes together, such as ``"8GB"``. It determines the size of blocks,
            and can reduce the number of workers; see :func:`dacapo.inference.budget.plan_within` for the default.
        precision: ``float32``, or ``bfloat16`` for mixed precision, which is faster and less exact.
        file_format: ``zarr`` writes OME-NGFF 0.4 in Zarr v2, ``zarr3`` OME-NGFF 0.5 in Zarr v3 with shards, if the
            container is new.
        tta: Test-time augmentation: ``"flips"`` averages the predictions for mirrored raw data, ``"turns"`` also those
            for raw data turned by 90 degrees; see :mod:`dacapo.inference.tta`.
        pyramid: Whether to write smaller levels for viewers; otherwise the image has a single level.

    Returns:
        The array that was written. Channels come first, and the attribute ``value_range`` holds the lowest and the
        highest value that predictions can have.

    Raises:
        NotFoundError: If the run, checkpoint or volume does not exist.
        RoiError: If the region is not inside the volume, or the volume is smaller than the network's input.
        ChannelMismatchError: If the volume does not have the number of channels that the network takes.
        OutputExistsError: If the output exists and must be kept.
        MemoryBudgetError: If not even the smallest block fits into the memory; it says how much is enough.
        BlockwiseError: If blocks failed; all others are done.
    """
    execution = Execution(num_workers, max_memory, precision, overwrite, Resume.of(overwrite, resume), tta=tta)
    trained, roi = TrainedModel.of(run_name), parse_roi(output_roi)
    source = input_source(input_container, input_dataset)
    raw = open_raw(trained.config, source)
    region = None if roi is None else placed_roi(roi, raw.world)
    output = _prediction_identifier(trained.name, iteration, output_path, source)
    plan_blocks(with_tta(trained, raw.voxel_size, tta).model, raw, region)
    check_free(output, overwrite, resume)
    create_weights_store().load_model(trained, iteration)
    prepare_container(output.container, file_format)
    predict_array(
        trained,
        raw,
        output,
        execution,
        output_roi=region,
        output_dtype=output_dtype,
        metadata={ORIGIN: {"operation": "predict", "run": trained.name, "iteration": iteration}},
        iteration=iteration,
        raw_config=config_for_workers(raw_config_of(trained.config, source)),
    )
    write_image(output, execution, is_labels=False, pyramid=pyramid)
    return output


def _prediction_identifier(
    run_name: str,
    iteration: int,
    output_path: LocalArrayIdentifier | Path | str,
    source: LocalArrayIdentifier | ArrayConfig,
) -> LocalArrayIdentifier:
    if isinstance(output_path, LocalArrayIdentifier):
        return output_path
    return LocalArrayIdentifier(
        output_container(output_path, source_path(source)), f"prediction_{run_name}_{iteration}"
    )
