"""Worker module that predicts with a run; see :mod:`dacapo.blockwise`."""

from __future__ import annotations

from pathlib import Path

import click
import daisy.v2 as daisy
from funlib.geometry import Roi

from dacapo.blockwise.worker.command_line import array_options, worker_cli
from dacapo.blockwise.worker.loop import make_start_worker
from dacapo.blockwise.worker.spawned import SpawnedWorker
from dacapo.blockwise.worker.user_modules import ProcessBlock
from dacapo.compute_context import Step, create_compute_context
from dacapo.errors import ConfigError
from dacapo.experiments.block_plan import plan_blocks
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.run import Run
from dacapo.experiments.trained_model import TrainedModel
from dacapo.inference.inputs import open_raw
from dacapo.inference.prediction import BlockPredictor, check_prediction_array
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store

COMPUTE_STEP = Step.PREDICT


def open_worker(
    run_name: str | Run,
    iteration: int | None,
    input_container: Path | str,
    input_dataset: str,
    output_container: Path | str,
    output_dataset: str,
) -> ProcessBlock:
    """Return the function that predicts a block; it writes ``block.write_roi`` and reads the input of the network.

    As in :func:`dacapo.predict`, blocks of any size fit together, and raw data is changed as in training.

    Args:
        run_name: A stored run, or the run itself.
        iteration: The checkpoint to use. With None, a run object keeps its weights, and a stored run gets those
            of its start.
        input_container: Container of the raw data.
        input_dataset: Dataset inside it.
        output_container: Container of the prediction.
        output_dataset: Dataset inside it, which must exist, with the voxel size and channels of the prediction; a
            single channel needs no axis. ``uint8`` scales the range of the prediction to 0..255.

    Raises:
        NotFoundError: If the run, the checkpoint or an array does not exist.
        ConfigError: If no weights are named, or the voxel size of the output is not that of the prediction.
        ChannelMismatchError: If the channels do not fit, of the output or of the input.
        InputTooSmallError: If the input is smaller than that of the network.
    """
    trained = TrainedModel.load(run_name, iteration)
    raw = open_raw(trained.config, LocalArrayIdentifier(Path(input_container), input_dataset))
    output = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(Path(output_container), output_dataset))
    check_prediction_array(trained, raw, output)
    if "value_range" not in output.attrs:
        output.add_metadata({"value_range": list(trained.task.predictor.output_range)})
    device = create_compute_context(step=Step.PREDICT).device

    def process(block: daisy.Block) -> None:
        roi = Roi(block.write_roi.offset, block.write_roi.shape).intersect(output.roi)
        if not roi.empty:
            BlockPredictor(trained, raw, plan_blocks(trained.model, raw, roi, roi.shape), output, device).process(roi)

    return process


start_worker = start_worker_fn = make_start_worker(open_worker)
_run = click.option("-r", "--run-name", required=True, help="A stored run.")
_iteration = click.option("-i", "--iteration", type=int, help="Its checkpoint; by default its first weights.")
_arrays = array_options("input", "output")
cli = worker_cli("Predict the blocks of a Daisy task.", start_worker, _run, _iteration, _arrays)


def spawn_worker(
    run_name: str | Run,
    iteration: int | None,
    input_array_identifier: LocalArrayIdentifier,
    output_array_identifier: LocalArrayIdentifier,
) -> SpawnedWorker:
    """Return a function without arguments that starts a worker, for a Daisy task.

    Raises:
        NotFoundError: If the run is not stored, where workers look for it.
        ConfigError: If its weights are only in this process.
    """
    name = run_name.name if isinstance(run_name, Run) else run_name
    create_config_store().retrieve_run_config(name)
    if iteration is None and isinstance(run_name, Run):
        raise ConfigError(
            f"the weights of run {name!r} are only in this process; store a checkpoint of it, and say which iteration"
        )
    return SpawnedWorker.of(
        "dacapo.blockwise.predict_worker",
        input_array_identifier,
        output_array_identifier,
        run_name=name,
        iteration=iteration,
    )


if __name__ == "__main__":
    cli()
