"""Worker module that writes 1 where an array is above a threshold, and 0 elsewhere; see :mod:`dacapo.blockwise`."""

from __future__ import annotations

from pathlib import Path

import click

from dacapo.blockwise.voxelwise import Threshold, into
from dacapo.blockwise.worker.command_line import array_options, worker_cli
from dacapo.blockwise.worker.loop import make_start_worker
from dacapo.blockwise.worker.spawned import SpawnedWorker
from dacapo.blockwise.worker.user_modules import ProcessBlock
from dacapo.compute_context import Step
from dacapo.store.array_store import LocalArrayIdentifier

COMPUTE_STEP = Step.SEGMENT


def open_worker(
    input_container: Path | str,
    input_dataset: str,
    output_container: Path | str,
    output_dataset: str,
    threshold: float = 0.0,
) -> ProcessBlock:
    """Return the function that does a block.

    Args:
        input_container: Container of the input.
        input_dataset: Dataset inside it.
        output_container: Container of the output.
        output_dataset: Dataset inside it, which must exist, with the channels of the input; a single one needs no axis.
        threshold: The threshold for the stored values.

    Raises:
        ArrayNotFoundError: If an array does not exist.
    """
    return into(
        Threshold,
        LocalArrayIdentifier(Path(input_container), input_dataset),
        LocalArrayIdentifier(Path(output_container), output_dataset),
        threshold=threshold,
    )


start_worker = make_start_worker(open_worker)
_threshold = click.option(
    "-th", "--threshold", type=float, default=0.0, show_default=True, help="Threshold for the stored values."
)
cli = worker_cli("Threshold the blocks of a Daisy task.", start_worker, array_options("input", "output"), _threshold)


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
