"""Worker module that writes 1 where an array is above a threshold, and 0 elsewhere; see :mod:`dacapo.blockwise`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from dacapo.blockwise.io_loop import io_loop
from dacapo.blockwise.spawned_worker import SpawnedWorker
from dacapo.blockwise.voxelwise import Threshold, into
from dacapo.blockwise.worker import Process
from dacapo.blockwise.worker_cli import add_start_worker, input_options, log_level_option, output_options, set_log_level
from dacapo.store.array_store import LocalArrayIdentifier

_threshold_option = click.option(
    "-th", "--threshold", type=float, default=0.0, show_default=True, help="What stored values are compared with."
)


@click.group()
@log_level_option
def cli(log_level: str) -> None:
    """Threshold the blocks of a Daisy task."""
    set_log_level(log_level)


def open_worker(
    input_container: Path | str,
    input_dataset: str,
    output_container: Path | str,
    output_dataset: str,
    threshold: float = 0.0,
) -> Process:
    """Return the function that does a block.

    Args:
        input_container: Container of the input.
        input_dataset: Dataset inside it.
        output_container: Container of the output.
        output_dataset: Dataset inside it, which exists. It has the channels of the input; a single one needs no axis.
        threshold: What stored values are compared with.

    Raises:
        ArrayNotFoundError: If an array does not exist.
    """
    return into(
        Threshold,
        LocalArrayIdentifier(Path(input_container), input_dataset),
        LocalArrayIdentifier(Path(output_container), output_dataset),
        threshold=threshold,
    )


def start_worker(
    input_container: Path | str,
    input_dataset: str,
    output_container: Path | str,
    output_dataset: str,
    threshold: float = 0.0,
    return_io_loop: bool = False,
) -> Callable[[], None] | None:
    """Do the blocks of the Daisy task that this process is a worker of; see :func:`open_worker`.

    Args:
        input_container: Container of the input.
        input_dataset: Dataset inside it.
        output_container: Container of the output.
        output_dataset: Dataset inside it.
        threshold: What stored values are compared with.
        return_io_loop: Whether to return the function that does the blocks, instead of calling it.
    """
    return io_loop(
        lambda: open_worker(input_container, input_dataset, output_container, output_dataset, threshold), return_io_loop
    )


add_start_worker(cli, start_worker, input_options, output_options, _threshold_option)


def spawn_worker(
    input_array_identifier: LocalArrayIdentifier,
    output_array_identifier: LocalArrayIdentifier,
    threshold: float = 0.0,
) -> SpawnedWorker:
    """Return a function without arguments that starts a worker, for a Daisy task."""
    return SpawnedWorker.of(
        "dacapo.blockwise.threshold_worker", input_array_identifier, output_array_identifier, threshold=threshold
    )


if __name__ == "__main__":
    cli()
