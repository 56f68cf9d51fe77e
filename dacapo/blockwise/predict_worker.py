"""Worker module that predicts with a run; see :mod:`dacapo.blockwise`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from funlib.geometry import Roi

from dacapo.blockwise.io_loop import io_loop
from dacapo.blockwise.spawned_worker import SpawnedWorker
from dacapo.blockwise.worker import Process
from dacapo.blockwise.worker_cli import add_start_worker, input_options, log_level_option, output_options, set_log_level
from dacapo.compute_context import create_compute_context
from dacapo.errors import ConfigError
from dacapo.experiments.block_plan import plan_blocks
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.run import Run
from dacapo.inference.inputs import open_raw
from dacapo.inference.prediction import BlockPredictor, check_prediction_array
from dacapo.inference.trained_model import TrainedModel
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store

if TYPE_CHECKING:
    import daisy.v2 as daisy


@click.group()
@log_level_option
def cli(log_level: str) -> None:
    """Predict the blocks of a Daisy task."""
    set_log_level(log_level)


def open_worker(
    run_name: str | Run,
    iteration: int | None,
    input_container: Path | str,
    input_dataset: str,
    output_container: Path | str,
    output_dataset: str,
) -> Process:
    """Return the function that predicts a block; it writes ``block.write_roi`` and reads what the network needs.

    Blocks of any size fit together as in :func:`dacapo.predict`, and raw data is changed as there.

    Args:
        run_name: A stored run, or the run itself.
        iteration: The checkpoint to use. With None a run that was given as such keeps its weights, and the one of a
            name has those that its start names.
        input_container: Container of the raw data.
        input_dataset: Dataset inside it.
        output_container: Container of the prediction.
        output_dataset: Dataset inside it, which exists, with a voxel size and channels as the run predicts them; a
            single channel needs no axis. ``uint8`` scales the range of the prediction to 0..255.

    Raises:
        NotFoundError: If there is no such run, checkpoint or array.
        ConfigError: If nothing says which weights to use, or the output has other voxels than the prediction.
        ChannelMismatchError: If the output has other channels than the prediction, or the input than the network takes.
        InputTooSmallError: If the input is smaller than that of the network.
    """
    trained = TrainedModel.load(run_name, iteration)
    raw = open_raw(trained.config, LocalArrayIdentifier(Path(input_container), input_dataset))
    output = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(Path(output_container), output_dataset))
    check_prediction_array(trained, raw, output)
    if "value_range" not in output.attrs:
        output.add_metadata({"value_range": list(trained.task.predictor.output_range)})
    device = create_compute_context().device

    def process(block: daisy.Block) -> None:
        roi = Roi(block.write_roi.offset, block.write_roi.shape).intersect(output.roi)
        if not roi.empty:
            BlockPredictor(trained, raw, plan_blocks(trained.model, raw, roi, roi.shape), output, device).process(roi)

    return process


def start_worker_fn(
    run_name: str | Run,
    iteration: int | None,
    input_container: Path | str,
    input_dataset: str,
    output_container: Path | str,
    output_dataset: str,
    return_io_loop: bool = False,
) -> Callable[[], None] | None:
    """Predict the blocks of the Daisy task that this process is a worker of; see :func:`open_worker`.

    Args:
        run_name: A stored run, or the run itself.
        iteration: The checkpoint to use.
        input_container: Container of the raw data.
        input_dataset: Dataset inside it.
        output_container: Container of the prediction.
        output_dataset: Dataset inside it.
        return_io_loop: Whether to return the function that does the blocks, instead of calling it.
    """
    return io_loop(
        lambda: open_worker(run_name, iteration, input_container, input_dataset, output_container, output_dataset),
        return_io_loop,
    )


def start_worker(
    run_name: str | Run,
    iteration: int | None,
    input_container: Path | str,
    input_dataset: str,
    output_container: Path | str,
    output_dataset: str,
    return_io_loop: bool | None = False,
) -> Callable[[], None] | None:
    """Do the same as :func:`start_worker_fn`."""
    return start_worker_fn(
        run_name,
        iteration,
        input_container,
        input_dataset,
        output_container,
        output_dataset,
        bool(return_io_loop),
    )


_run_option = click.option("-r", "--run-name", required=True, help="A stored run.")
_iteration_option = click.option("-i", "--iteration", type=int, help="Its checkpoint; else what the run starts with.")
add_start_worker(cli, start_worker, _run_option, _iteration_option, input_options, output_options)


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
