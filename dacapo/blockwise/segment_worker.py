"""Worker module that segments single blocks; :mod:`.relabel_worker` joins their segments. See :mod:`dacapo.blockwise`.

:func:`dacapo.blockwise.segment_blockwise` does both at once, with a result that does not depend on the order of blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dacapo.blockwise.segmentation.block_segmenter import BlockSegmenter
from dacapo.blockwise.worker.command_line import array_options, tmpdir_option, worker_cli
from dacapo.blockwise.worker.loop import make_start_worker
from dacapo.blockwise.worker.spawned import SpawnedWorker
from dacapo.blockwise.worker.user_modules import ProcessBlock
from dacapo.compute_context import Step
from dacapo.errors import ConfigError
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.files import is_file, read_text
from dacapo.utils.plain_yaml import parse_yaml

COMPUTE_STEP = Step.SEGMENT

PARAMETERS = "parameters.yaml"


def open_worker(
    input_container: Path | str,
    input_dataset: str,
    output_container: Path | str,
    output_dataset: str,
    tmpdir: Path | str,
    function_path: Path | str,
    *,
    parameters: Mapping[str, Any] | None = None,
) -> ProcessBlock:
    """Return the function that segments a block.

    Where a block has neighbors, ``block.read_roi`` must reach at least a voxel beyond ``block.write_roi``.

    Args:
        input_container: Container of the array to segment.
        input_dataset: Dataset inside it.
        output_container: Container of the segments.
        output_dataset: Dataset inside it, which must exist, without channels, of an integer type that can count its
            voxels.
        tmpdir: Folder that all workers see, for the input of :mod:`.relabel_worker`; empty before the first worker.
        function_path: File with the ``segment_function``, as for :func:`dacapo.blockwise.segment_blockwise`.
        parameters: For that function, by default those of the file ``parameters.yaml`` in ``tmpdir``, if it exists.

    Raises:
        ArrayNotFoundError: If an array does not exist.
        ConfigError: If the function is missing or takes other parameters, or ``tmpdir`` holds other work.
        DtypeError: If the output cannot hold the segments.
    """
    folder = Path(tmpdir)
    return BlockSegmenter.open(
        LocalArrayIdentifier(Path(input_container), input_dataset),
        LocalArrayIdentifier(Path(output_container), output_dataset),
        folder,
        str(function_path),
        _read_parameters(folder / PARAMETERS) if parameters is None else parameters,
    ).process


def _read_parameters(file: Path) -> dict[str, Any]:
    if not is_file(file):
        return {}
    values = parse_yaml(read_text(file), str(file))
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{file} holds {values!r}; expected parameters by their names")
    return values or {}


start_worker = make_start_worker(open_worker)
_function = click.option("--function_path", required=True, help="File with the segment_function.")
_arrays = array_options("input", "output", short=False)
cli = worker_cli("Segment the blocks of a Daisy task.", start_worker, _arrays, tmpdir_option, _function)


def spawn_worker(
    input_array_identifier: LocalArrayIdentifier,
    output_array_identifier: LocalArrayIdentifier,
    tmpdir: str,
    function_path: str,
) -> SpawnedWorker:
    """Return a function without arguments that starts a worker, for a Daisy task."""
    return SpawnedWorker.of(
        "dacapo.blockwise.segment_worker",
        input_array_identifier,
        output_array_identifier,
        tmpdir=tmpdir,
        function_path=function_path,
    )


if __name__ == "__main__":
    cli()
