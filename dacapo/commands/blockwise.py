"""The commands that run a user's code over a volume in blocks: run-blockwise, segment-blockwise."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import click

from dacapo.commands import parameters as given
from dacapo.utils.paths import shown
from dacapo.utils.plain_json import parse_json


def unpack_ctx(ctx: click.Context) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a command beyond its own parameters.

    Args:
        ctx: Context of the command.

    Returns:
        Positional values, and the values that follow ``--name`` or ``--name=``, keyed by name with ``_`` for ``-``; a
        name without a value is True. Numbers, lists and the like are parsed as JSON or Python literals; other values
        are text.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    name: str | None = None
    for word in ctx.args:
        if word.startswith("--") and len(word) > 2:
            key, equals, value = word[2:].partition("=")
            key = key.replace("-", "_")
            kwargs[key] = _literal(value) if equals else True
            name = None if equals else key
        elif name is not None:
            kwargs[name], name = _literal(word), None
        else:
            args.append(_literal(word))
    return args, kwargs


def _literal(text: str) -> Any:
    for parse in (parse_json, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):  # the latter for what is nested too deep
            continue
    return text


def get_rois(total_roi: Any, read_roi_size: Any, write_roi_size: Any, input_array: Any) -> tuple[Any, Any, Any]:
    """Return the regions of a blockwise operation that writes a region of an array.

    Args:
        total_roi: Region to write in world units, the whole array if None.
        read_roi_size: Extent that a block reads, in world units, centered on the extent that it writes.
        write_roi_size: Extent that a block writes, in world units.
        input_array: The array.

    Returns:
        The region that all blocks together read, which extends the region to write by the context of a block, and the
        read and write regions of a block, relative to each other.

    Raises:
        RoiError: If the region is not inside the array, the extents are not on its voxel grid, or a block does not
            read everything it writes.
    """
    from funlib.geometry import Coordinate, Roi

    from dacapo.errors import RoiError
    from dacapo.experiments.datasplits.datasets.arrays.world import placed_extent, placed_roi

    world, voxel_size = input_array.world, input_array.voxel_size
    region = input_array.roi if total_roi is None else placed_roi(total_roi, world)
    input_array.check_roi(region)
    read, write = (Coordinate(placed_extent(extent, world)) for extent in (read_roi_size, write_roi_size))
    if (
        not read.dims == write.dims == voxel_size.dims
        or any(w <= 0 or r < w for r, w in zip(read, write, strict=True))
        or any(write % voxel_size)
        or any((read - write) % (voxel_size * 2))
    ):
        raise RoiError(
            f"blocks cannot read {read} and write {write}: expected {voxel_size.dims} numbers each, multiples of the "
            f"voxel size {voxel_size}, and the same context on both sides"
        )
    context = (read - write) / 2
    return region.grow(context, context), Roi((0,) * read.dims, read), Roi(context, write)


_blocks = given.several(
    given.extent_option("-rr", "--read-roi-size", required=True, help="Extent that a block reads."),
    given.extent_option("-wr", "--write-roi-size", required=True, help="Extent that a block writes."),
    given.roi_option("-tr", "--total-roi"),
    click.option(
        "-nw",
        "--num-workers",
        type=click.IntRange(1),
        default=16,
        metavar="NUMBER",
        help="Maximum number of workers.",
    ),
    click.option(
        "-mr",
        "--max-retries",
        type=click.IntRange(0),
        default=2,
        metavar="NUMBER",
        help="Number of times to retry a failed block.",
    ),
    click.option("-t", "--timeout", type=float, metavar="SECONDS", help="Time limit of a block; no limit by default."),
    click.option(
        "-co",
        "-channels_out",
        "--channels-out",
        type=click.IntRange(1),
        metavar="NUMBER",
        help="Channels of the output; by default it has no channel axis.",
    ),
    given.pyramid,
    given.overwrite,
)

_ANY_PARAMETERS = {"ignore_unknown_options": True, "allow_extra_args": True}


@click.command(cls=given.Command, context_settings=_ANY_PARAMETERS)
@given.inputs
@given.outputs
@given.by_place_or_name("-w", "--worker-file", help="Python file or import path of a module.")
@_blocks
@click.option("-dt", "--output-dtype", default="uint8", metavar="DTYPE", help="Data type of the output.")
@click.pass_context
def run_blockwise(
    ctx: click.Context,
    input_container: Path,
    input_dataset: str,
    output_container: Path,
    output_dataset: str,
    worker_file: str,
    total_roi: Any,
    read_roi_size: Any,
    write_roi_size: Any,
    num_workers: int = 16,
    max_retries: int = 2,
    timeout: float | None = None,
    overwrite: bool = False,
    channels_out: int | None = None,
    output_dtype: str = "uint8",
    pyramid: bool = True,
) -> None:
    """Run WORKER_FILE over a volume, block by block.

    WORKER_FILE is a Python file or the import path of a module with a function process_block or start_worker. The
    command creates the output. The function receives input_container, input_dataset, output_container and
    output_dataset, and all parameters at the end of the command line, such as --threshold 0.5. Extents are in world
    units.
    """
    from dacapo.blockwise.journal import Resume
    from dacapo.blockwise.pyramid import guess_labels, write_image
    from dacapo.blockwise.scheduling.run_operation import execute
    from dacapo.blockwise.worker.call import WorkerCall
    from dacapo.blockwise.worker_module import WorkerModule
    from dacapo.compute_context import Execution
    from dacapo.experiments.datasplits.datasets.arrays import ZarrArray, open_identifier
    from dacapo.experiments.datasplits.datasets.arrays.world import placed_roi
    from dacapo.store.array_store import LocalArrayIdentifier

    args, kwargs = unpack_ctx(ctx)
    identifier = LocalArrayIdentifier(input_container, input_dataset)
    source = open_identifier(identifier)
    _, read_roi, write_roi = get_rois(total_roi, read_roi_size, write_roi_size, source)
    names: dict[str, Any] = {
        "input_container": shown(input_container),
        "input_dataset": input_dataset,
        "output_container": shown(output_container),
        "output_dataset": output_dataset,
        **kwargs,
    }
    WorkerCall.of(worker_file, args, names)  # checks that the worker accepts these
    operation = WorkerModule(
        input=identifier,
        output=LocalArrayIdentifier(output_container, output_dataset),
        region=source.roi if total_roi is None else placed_roi(total_roi, source.world),
        block_shape=write_roi.shape,
        before=write_roi.begin - read_roi.begin,
        after=read_roi.end - write_roi.end,
        worker_file=worker_file,
        args=args,
        kwargs=names,
        dtype=_dtype(output_dtype).name,
        channels=channels_out,
    )
    execution = Execution(
        num_workers,
        overwrite=overwrite,
        resume=Resume.of(overwrite, not overwrite),
        max_retries=max_retries,
        timeout=timeout,
    )
    execute(operation, execution)
    output = ZarrArray.open_from_array_identifier(operation.output, mode="r")
    write_image(operation.output, execution, guess_labels(output), pyramid)
    click.echo(shown(output_container / output_dataset))


def _dtype(name: str) -> Any:
    import numpy as np

    from dacapo.errors import DtypeError

    try:
        return np.dtype(name)
    except TypeError:
        raise DtypeError(f"{name!r} is not a data type; use one such as uint8 or float32") from None


@click.command(cls=given.Command, context_settings=_ANY_PARAMETERS)
@given.inputs
@given.outputs
@given.by_place_or_name("-sf", "--segment-function-file", help="Python file or import path of a module.")
@_blocks
@given.extent_option(
    "-c",
    "--context",
    help="Additional context of a block; by default its read extent minus its write extent, per side, or a voxel.",
)
@click.option("--min-overlap", type=float, default=0.0, help="Join segments that share more than this fraction.")
@click.option("--keep-tmpdir", is_flag=True, help="Keep the segments of the individual blocks.")
@click.pass_context
def segment_blockwise(
    ctx: click.Context,
    input_container: Path,
    input_dataset: str,
    output_container: Path,
    output_dataset: str,
    segment_function_file: str,
    total_roi: Any,
    read_roi_size: Any,
    write_roi_size: Any,
    context: Any = None,
    num_workers: int = 16,
    max_retries: int = 2,
    timeout: float | None = None,
    overwrite: bool = False,
    channels_out: int | None = None,
    min_overlap: float = 0.0,
    keep_tmpdir: bool = False,
    pyramid: bool = True,
) -> None:
    """Segment a volume in blocks with a function of SEGMENT_FUNCTION_FILE.

    The file is a Python file, or the import path of a module, with segment_function(input_array, roi, ...), which
    receives all parameters at the end of the command line, such as --threshold 0.5. Overlapping segments of
    neighboring blocks are joined. Extents are in world units.
    """
    from dacapo.blockwise import segment_blockwise as segment
    from dacapo.errors import ConfigError
    from dacapo.experiments.datasplits.datasets.arrays import open_identifier
    from dacapo.experiments.datasplits.datasets.arrays.world import placed_extent
    from dacapo.store.array_store import LocalArrayIdentifier

    if channels_out not in (None, 1):
        raise ConfigError(f"a segmentation has no channels, got {channels_out}; leave out --channels-out")
    args, kwargs = unpack_ctx(ctx)
    source = open_identifier(LocalArrayIdentifier(input_container, input_dataset))
    read_region, read_roi, write_roi = get_rois(total_roi, read_roi_size, write_roi_size, source)
    names: dict[str, Any] = {
        "input_container": input_container,
        "input_dataset": input_dataset,
        "output_container": output_container,
        "output_dataset": output_dataset,
        "min_overlap": min_overlap,
        "overwrite": overwrite,
        "into_existing": False,
        "pyramid": pyramid,
    }
    if context is None:
        context = [max(size, beyond) for size, beyond in zip(source.voxel_size, write_roi.begin, strict=True)]
    else:
        context = placed_extent(context, source.world)
    segment(
        segment_function_file,
        context,
        read_region,
        read_roi,
        write_roi,
        num_workers,
        max_retries,
        timeout,
        None,
        keep_tmpdir,
        *args,
        **names,
        **kwargs,
    )
    click.echo(shown(output_container / output_dataset))


COMMANDS = (run_blockwise, segment_blockwise)
