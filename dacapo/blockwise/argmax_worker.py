"""Worker module that writes the index of the largest channel; see :mod:`dacapo.blockwise`."""

from __future__ import annotations

from pathlib import Path

from dacapo.blockwise.voxelwise import Argmax, into
from dacapo.blockwise.worker.command_line import array_options, worker_cli
from dacapo.blockwise.worker.loop import make_start_worker
from dacapo.blockwise.worker.spawned import SpawnedWorker
from dacapo.blockwise.worker.user_modules import ProcessBlock
from dacapo.compute_context import Step
from dacapo.experiments.datasplits.datasets.arrays import open_identifier
from dacapo.store.array_store import LocalArrayIdentifier

COMPUTE_STEP = Step.SEGMENT


def open_worker(
    input_container: Path | str, input_dataset: str, output_container: Path | str, output_dataset: str
) -> ProcessBlock:
    """Return the function that does a block.

    Args:
        input_container: Container of the input.
        input_dataset: Dataset inside it. Without a channel axis it has a single channel, so every index is 0.
        output_container: Container of the output.
        output_dataset: Dataset inside it, which must exist, with one channel or no channel axis.

    Raises:
        ArrayNotFoundError: If an array does not exist.
    """
    source = LocalArrayIdentifier(Path(input_container), input_dataset)
    array = open_identifier(source)
    return into(Argmax, source, LocalArrayIdentifier(Path(output_container), output_dataset), axis=array.channel_axis)


start_worker = make_start_worker(open_worker)
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
