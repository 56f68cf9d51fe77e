"""Worker module that writes the index of the largest channel; see :mod:`dacapo.blockwise`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dacapo.blockwise.voxelwise import Argmax, into
from dacapo.blockwise.worker.command_line import array_options, worker_cli
from dacapo.blockwise.worker.loop import io_loop
from dacapo.blockwise.worker.spawned import SpawnedWorker
from dacapo.blockwise.worker.user_modules import ProcessBlock
from dacapo.errors import ChannelMismatchError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier


def open_worker(
    input_container: Path | str, input_dataset: str, output_container: Path | str, output_dataset: str
) -> ProcessBlock:
    """Return the function that does a block.

    Args:
        input_container: Container of the input.
        input_dataset: Dataset inside it, with a channel axis.
        output_container: Container of the output.
        output_dataset: Dataset inside it, which must exist, with one channel or no channel axis.

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
    """Do the blocks of the Daisy task that this process is a worker of.

    The arguments are those of :func:`open_worker`. With ``return_io_loop``, return the function that does the blocks,
    instead of calling it.
    """
    return io_loop(
        lambda: open_worker(input_container, input_dataset, output_container, output_dataset), return_io_loop
    )


cli = worker_cli(
    "Find the largest channel in the blocks of a Daisy task.", start_worker, array_options("input", "output")
)


def spawn_worker(
    input_array_identifier: LocalArrayIdentifier, output_array_identifier: LocalArrayIdentifier
) -> SpawnedWorker:
    """Return a function without arguments that starts a worker, for a Daisy task."""
    return SpawnedWorker.of("dacapo.blockwise.argmax_worker", input_array_identifier, output_array_identifier)


if __name__ == "__main__":
    cli()
