"""Worker module that writes which channel of an array is the largest; see :mod:`dacapo.blockwise`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from dacapo.blockwise.io_loop import io_loop
from dacapo.blockwise.spawned_worker import SpawnedWorker
from dacapo.blockwise.voxelwise import Argmax, into
from dacapo.blockwise.worker import Process
from dacapo.blockwise.worker_cli import add_start_worker, input_options, log_level_option, output_options, set_log_level
from dacapo.errors import ChannelMismatchError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier


@click.group()
@log_level_option
def cli(log_level: str) -> None:
    """Find the largest channel in the blocks of a Daisy task."""
    set_log_level(log_level)


def open_worker(
    input_container: Path | str, input_dataset: str, output_container: Path | str, output_dataset: str
) -> Process:
    """Return the function that does a block.

    Args:
        input_container: Container of the input.
        input_dataset: Dataset inside it, with a channel axis.
        output_container: Container of the output.
        output_dataset: Dataset inside it, which exists and has one channel or no such axis.

    Raises:
        ArrayNotFoundError: If an array does not exist.
        ChannelMismatchError: If the input has no channel axis.
    """
    source = LocalArrayIdentifier(Path(input_container), input_dataset)
    array = ZarrArray.open_from_array_identifier(source, mode="r")
    if array.channel_axis is None:
        raise ChannelMismatchError(f"{array} has the axes {array.axes}; the largest channel is that of an axis 'c'")
    return into(Argmax, source, LocalArrayIdentifier(Path(output_container), output_dataset), axis=array.channel_axis)


def start_worker(
    input_container: Path | str,
    input_dataset: str,
    output_container: Path | str,
    output_dataset: str,
    return_io_loop: bool = False,
) -> Callable[[], None] | None:
    """Do the blocks of the Daisy task that this process is a worker of; see :func:`open_worker`.

    Args:
        input_container: Container of the input.
        input_dataset: Dataset inside it.
        output_container: Container of the output.
        output_dataset: Dataset inside it.
        return_io_loop: Whether to return the function that does the blocks, instead of calling it.
    """
    return io_loop(
        lambda: open_worker(input_container, input_dataset, output_container, output_dataset), return_io_loop
    )


add_start_worker(cli, start_worker, input_options, output_options)


def spawn_worker(
    input_array_identifier: LocalArrayIdentifier, output_array_identifier: LocalArrayIdentifier
) -> SpawnedWorker:
    """Return a function without arguments that starts a worker, for a Daisy task."""
    return SpawnedWorker.of("dacapo.blockwise.argmax_worker", input_array_identifier, output_array_identifier)


if __name__ == "__main__":
    cli()
