"""The command line: ``dacapo train RUN``, ``validate``, ``predict``, ``apply``, ``run-blockwise``, ``demo``, and more.

Errors that a user can mend are printed on one line, and the exit status is 1. Modules that load torch are imported by
the command that needs them, so that ``--help`` is quick.
"""

from __future__ import annotations

import ast
import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from dacapo.config_commands import config as config_commands
from dacapo.errors import BlockwiseError, DacapoError
from dacapo.options import Options

# Exit status of a command that was asked to stop, as shells have it.
INTERRUPTED = 130


class _Group(click.Group):
    """A group that turns errors of this package into one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DacapoError as error:
            if logging.getLogger("dacapo").isEnabledFor(logging.DEBUG):
                raise
            # A list of blocks keeps its lines.
            lines = str(error).splitlines() if isinstance(error, BlockwiseError) else [str(error)]
            raise click.ClickException("\n".join(" ".join(line.split()) for line in lines)) from error
        except KeyboardInterrupt:
            click.echo("Error: interrupted; what was saved before is kept", err=True)
            raise SystemExit(INTERRUPTED) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="dacapo")
@click.option(
    "--log-level",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False),
    default="INFO",
    help="What is reported on stderr; DEBUG also shows where an error came from.",
)
@click.option(
    "--runs-dir",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder that holds configs, checkpoints and scores; by default the one in dacapo.yaml, or ~/dacapo.",
)
def cli(log_level: str, runs_dir: Path | None = None) -> None:
    """Train networks that segment microscopy volumes, and apply them."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("dacapo").setLevel(log_level.upper())
    if runs_dir is not None:
        Options.instance(runs_base_dir=runs_dir)


_OVERWRITE_HELP = (
    "Start anew, replacing earlier results of dacapo. By default an interrupted command goes on with what is missing, "
    "and results of other parameters are an error."
)


_MAX_MEMORY_HELP = (
    "What all processes may take of memory together, that of GPUs included, such as 8GB; decides about the size of "
    "blocks, and about the number of workers where there is not enough for all."
)


def _num_workers(context: click.Context, parameter: click.Parameter, value: int) -> int:
    """Mark a number that nobody asked for."""
    from dacapo.compute_context import Unasked

    is_default = context.get_parameter_source(str(parameter.name)) is ParameterSource.DEFAULT
    return Unasked(value) if is_default else value


def _input_and_output(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what predict and apply have in common."""
    for option in (
        click.option("--overwrite/--no-overwrite", default=False, help=_OVERWRITE_HELP),
        click.option(
            "--output-dtype",
            type=click.Choice(["uint8", "float32"]),
            default="uint8",
            help="Type of the prediction; uint8 scales its range to 0..255.",
        ),
        click.option(
            "--precision",
            type=click.Choice(["float32", "bfloat16"]),
            default="float32",
            help="How the network computes; bfloat16 is faster and less exact.",
        ),
        click.option("--max-memory", help=_MAX_MEMORY_HELP),
        click.option(
            "--num-workers",
            type=click.IntRange(1),
            default=30,
            callback=_num_workers,
            show_default="one process predicts; with several GPUs up to 4 workers for each; on a cluster 30 jobs",
            help="Number of worker processes at most; on this machine no more than its cores.",
        ),
        click.argument("output_path", type=click.Path(path_type=Path)),
        click.argument("input_dataset"),
        click.argument("input_container", type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command


def _roi(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """Parse a region such as ``[0:400,0:1000,200:1200]``, in world units."""
    from funlib.geometry import Roi

    if value is None:
        return None
    try:
        limits = [tuple(map(int, part.split(":"))) for part in value.strip("[] ").split(",")]
        roi = Roi(tuple(begin for begin, _ in limits), tuple(end - begin for begin, end in limits))
        if not all(begin < end for begin, end in limits):
            raise click.BadParameter(f"{value!r} is empty: each axis needs an end beyond its begin")
        return roi
    except ValueError:
        expected = "begin:end per axis in world units, such as [0:400,0:1000,200:1200]"
        raise click.BadParameter(f"{value!r} is not {expected}") from None


@cli.command()
@click.argument("run_name")
@click.option(
    "--devices",
    type=click.IntRange(1),
    default=1,
    help="Number of processes that train together, each on its own GPU if there are GPUs.",
)
@click.option(
    "--max-memory",
    help="What training may take of memory, such as 8GB, on each device; the samples of an iteration are divided into "
    "smaller batches where there is need.",
)
def train(run_name: str, devices: int = 1, max_memory: str | None = None) -> None:
    """Train RUN_NAME to its end, going on from its last checkpoint.

    Ctrl-C finishes the iteration, saves and stops with status 130; the same command goes on. Instead of --devices, a
    launcher may start the processes: torchrun --nproc-per-node=2 -m dacapo train RUN_NAME.
    """
    from dacapo.train import load_run, progress_of, train_or_stop
    from dacapo.utils import distributed

    if devices > 1:
        # It would report what the failing rank has said already.
        logging.getLogger("torch.distributed.elastic.multiprocessing.api").disabled = True
        budget = [] if max_memory is None else ["--max-memory", max_memory]
        raise SystemExit(
            distributed.launch(_same_command(click.get_current_context(), "train", run_name, *budget), devices)
        )
    with distributed.process_group():
        main = distributed.is_main()
        if not main:
            logging.getLogger("dacapo").setLevel(logging.ERROR)
        run = load_run(run_name)
        stopped = train_or_stop(run, max_memory)
    if main:
        click.echo(progress_of(run))
    if main and stopped:
        # Not 0, so that what follows in a script does not take the run for done.
        raise SystemExit(INTERRUPTED)


def _same_command(ctx: click.Context, *arguments: str) -> list[str]:
    """Return what follows ``python`` to call a command with the same general options as this one."""
    general = ctx.find_root().params
    options = ["--log-level", general["log_level"]]
    if general["runs_dir"] is not None:
        options += ["--runs-dir", str(general["runs_dir"])]
    return ["-m", "dacapo", *options, *arguments]


@cli.command()
@click.argument("run_name")
@click.argument("iteration", type=click.IntRange(0))
@click.option(
    "--num-workers",
    type=click.IntRange(1),
    default=1,
    help="Number of worker processes at most, for predicting, post-processing and scoring; 1 works in this one.",
)
@click.option("--max-memory", help=_MAX_MEMORY_HELP)
def validate(run_name: str, iteration: int, num_workers: int = 1, max_memory: str | None = None) -> None:
    """Score the checkpoint of ITERATION of RUN_NAME on its validation data."""
    from dacapo.report import score_table
    from dacapo.validate import validate as validate_run

    validate_run(run_name, iteration, num_workers, max_memory=max_memory)
    click.echo(score_table(run_name, iteration))


@cli.command()
@click.argument("run_name")
@click.argument("iteration", type=click.IntRange(0))
@_input_and_output
@click.option("--roi", "output_roi", callback=_roi, help="Region, as [begin:end,...] in world units.")
def predict(
    run_name: str,
    iteration: int,
    input_container: Path,
    input_dataset: str,
    output_path: Path,
    output_roi: Any = None,
    num_workers: int = 30,
    output_dtype: str = "uint8",
    overwrite: bool = False,
    max_memory: str | None = None,
    precision: str = "float32",
) -> None:
    """Predict a volume with the checkpoint of ITERATION of RUN_NAME."""
    from dacapo.predict import predict as predict_volume

    output = predict_volume(
        run_name,
        iteration,
        input_container,
        input_dataset,
        output_path,
        output_roi,
        num_workers,
        output_dtype,
        overwrite,
        resume=not overwrite,
        max_memory=max_memory,
        precision=precision,
    )
    click.echo(f"{output.container}/{output.dataset}")


@cli.command()
@click.argument("run_name")
@_input_and_output
@click.option("--validation-dataset", help="Whose scores decide; by default the mean of all validation datasets.")
@click.option("--criterion", default="voi", help="The score that decides.")
@click.option("--iteration", type=click.IntRange(0), help="Checkpoint to use; by default the best.")
@click.option("--parameters", help="Post-processing parameters to use; by default the best.")
@click.option("--roi", callback=_roi, help="Region, as [begin:end,...] in world units.")
def apply(
    run_name: str,
    input_container: Path,
    input_dataset: str,
    output_path: Path,
    validation_dataset: str | None = None,
    criterion: str = "voi",
    iteration: int | None = None,
    parameters: str | None = None,
    roi: Any = None,
    num_workers: int = 30,
    output_dtype: str = "uint8",
    overwrite: bool = False,
    max_memory: str | None = None,
    precision: str = "float32",
) -> None:
    """Segment a volume with the best checkpoint and parameters of RUN_NAME."""
    from dacapo.apply import apply as apply_to_volume

    applied = apply_to_volume(
        run_name,
        input_container,
        input_dataset,
        output_path,
        validation_dataset,
        criterion,
        iteration,
        parameters,
        roi,
        num_workers,
        output_dtype,
        overwrite,
        resume=not overwrite,
        max_memory=max_memory,
        precision=precision,
    )
    click.echo(f"{applied.output.container}/{applied.output.dataset}")


def _size(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """Parse an extent such as ``[400,1000,1000]``, in world units."""
    from funlib.geometry import Coordinate

    if value is None:
        return None
    try:
        return Coordinate(int(part) for part in value.strip("[]() ").split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no extent per axis in world units, such as [400,1000,1000]") from None


def unpack_ctx(ctx: click.Context) -> tuple[list[Any], dict[str, Any]]:
    """Return what a command was given beyond its own parameters.

    Args:
        ctx: Context of the command.

    Returns:
        Values without a name, and those that follow ``--name`` or ``--name=``, by their name with ``_`` for ``-``; True
        for a name without a value. Numbers, lists and the like are read as JSON or as Python has them, others are text.
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
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError):
            continue
    return text


def get_rois(total_roi: Any, read_roi_size: Any, write_roi_size: Any, input_array: Any) -> tuple[Any, Any, Any]:
    """Return the regions of a blockwise operation that writes a region of an array.

    Args:
        total_roi: Region to write in world units, all of the array if None.
        read_roi_size: Extent of what a block reads, in world units; what it writes is in the middle.
        write_roi_size: Extent of what it writes.
        input_array: The array.

    Returns:
        The region that all blocks read together, which reaches beyond the region to write by the context of a block,
        and what a block reads and writes, relative to each other.

    Raises:
        RoiError: If the region is not inside the array, or the extents are not on its voxel grid, or a block does not
            read what it writes.
    """
    from funlib.geometry import Coordinate, Roi

    from dacapo.errors import RoiError

    region = input_array.roi if total_roi is None else total_roi
    input_array.check_roi(region)
    read, write, voxel_size = Coordinate(read_roi_size), Coordinate(write_roi_size), input_array.voxel_size
    if (
        not read.dims == write.dims == voxel_size.dims
        or any(w <= 0 or r < w for r, w in zip(read, write, strict=True))
        or any(write % voxel_size)
        or any((read - write) % (voxel_size * 2))
    ):
        raise RoiError(
            f"blocks cannot read {read} and write {write}: expected {voxel_size.dims} numbers each, multiples of the "
            f"voxel size {voxel_size}, and to read as much more on one side as on the other"
        )
    context = (read - write) / 2
    return region.grow(context, context), Roi((0,) * read.dims, read), Roi(context, write)


def _blockwise(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what the blockwise commands have in common."""
    for option in (
        click.option("--channels-out", type=click.IntRange(1), help="Channels of the output; no such axis by default."),
        click.option("--overwrite/--no-overwrite", default=False, help=_OVERWRITE_HELP),
        click.option("--timeout", type=float, help="Seconds that a block may take; no limit by default."),
        click.option("--max-retries", type=click.IntRange(0), default=2, help="How often to try a failed block again."),
        click.option("--num-workers", type=click.IntRange(1), default=16, help="Number of workers at most."),
        click.option("--write-roi-size", callback=_size, required=True, help="What a block writes, as [z,y,x]."),
        click.option("--read-roi-size", callback=_size, required=True, help="What a block reads, as [z,y,x]."),
        click.option("--total-roi", callback=_roi, help="Region, as [begin:end,...] in world units; all by default."),
    ):
        command = option(command)
    return command


def _containers(command: Callable[..., Any]) -> Callable[..., Any]:
    for argument in (
        click.argument("output_dataset"),
        click.argument("output_container", type=click.Path(path_type=Path)),
        click.argument("input_dataset"),
        click.argument("input_container", type=click.Path(path_type=Path)),
    ):
        command = argument(command)
    return command


_ANY_PARAMETERS = {"ignore_unknown_options": True, "allow_extra_args": True}


@cli.command(context_settings=_ANY_PARAMETERS)
@_containers
@click.argument("worker_file")
@_blockwise
@click.option("--output-dtype", default="uint8", help="Type of the values of the output.")
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
) -> None:
    """Run WORKER_FILE over a volume, block by block.

    WORKER_FILE is a Python file or the import path of a module with a function process_block or start_worker. The
    output is created for it. The function gets input_container, input_dataset, output_container and output_dataset, and
    all parameters that come last on the command line, such as --threshold 0.5. Extents are in world units.
    """
    from dacapo.blockwise.record import Resume
    from dacapo.blockwise.running import run_operation
    from dacapo.blockwise.worker_call import WorkerCall
    from dacapo.blockwise.worker_module import WorkerModule
    from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
    from dacapo.store.array_store import LocalArrayIdentifier

    args, kwargs = unpack_ctx(ctx)
    identifier = LocalArrayIdentifier(input_container, input_dataset)
    source = ZarrArray.open_from_array_identifier(identifier, mode="r")
    _, read_roi, write_roi = get_rois(total_roi, read_roi_size, write_roi_size, source)
    names: dict[str, Any] = {
        "input_container": str(input_container),
        "input_dataset": input_dataset,
        "output_container": str(output_container),
        "output_dataset": output_dataset,
        **kwargs,
    }
    WorkerCall.of(worker_file, args, names)  # whether it takes these
    operation = WorkerModule(
        input=identifier,
        output=LocalArrayIdentifier(output_container, output_dataset),
        region=source.roi if total_roi is None else total_roi,
        block_shape=write_roi.shape,
        before=write_roi.begin - read_roi.begin,
        after=read_roi.end - write_roi.end,
        worker_file=worker_file,
        args=args,
        kwargs=names,
        dtype=_dtype(output_dtype).name,
        channels=channels_out,
    )
    run_operation(
        operation,
        num_workers,
        overwrite=overwrite,
        resume=Resume.of(overwrite, not overwrite),
        max_retries=max_retries,
        timeout=timeout,
    )
    click.echo(f"{output_container}/{output_dataset}")


def _dtype(name: str) -> Any:
    import numpy as np

    from dacapo.errors import DtypeError

    try:
        return np.dtype(name)
    except TypeError:
        raise DtypeError(f"{name!r} is no type of values; use one such as uint8 or float32") from None


@cli.command(context_settings=_ANY_PARAMETERS)
@_containers
@click.argument("segment_function_file")
@_blockwise
@click.option("--context", callback=_size, required=True, help="How far a block looks beyond that, as [z,y,x].")
@click.option("--min-overlap", type=float, default=0.0, help="Join segments that share more than this part.")
@click.option("--keep-tmpdir", is_flag=True, help="Keep the segments of the single blocks.")
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
    context: Any,
    num_workers: int = 16,
    max_retries: int = 2,
    timeout: float | None = None,
    overwrite: bool = False,
    channels_out: int | None = None,
    min_overlap: float = 0.0,
    keep_tmpdir: bool = False,
) -> None:
    """Segment a volume in blocks with a function of SEGMENT_FUNCTION_FILE.

    The file is a Python file, or the import path of a module, with segment_function(input_array, roi, ...), which gets
    all parameters that come last on the command line, such as --threshold 0.5. Segments of neighboring blocks are
    joined where they overlap. Extents are in world units.
    """
    from dacapo.blockwise import segment_blockwise as segment
    from dacapo.errors import ConfigError
    from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
    from dacapo.store.array_store import LocalArrayIdentifier

    if channels_out is not None:
        raise ConfigError("a segmentation has no channels; leave out --channels-out")
    args, kwargs = unpack_ctx(ctx)
    source = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(input_container, input_dataset), mode="r")
    read_region, read_roi, write_roi = get_rois(total_roi, read_roi_size, write_roi_size, source)
    names: dict[str, Any] = {
        "input_container": input_container,
        "input_dataset": input_dataset,
        "output_container": output_container,
        "output_dataset": output_dataset,
        "min_overlap": min_overlap,
        "overwrite": overwrite,
        "into_existing": False,
    }
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
    click.echo(f"{output_container}/{output_dataset}")


@cli.command()
def runs() -> None:
    """List the stored runs."""
    from dacapo.report import run_table

    click.echo(run_table())


@cli.command()
@click.option("--output", type=click.Path(path_type=Path), default="demo", help="Folder for everything.")
@click.option("--raw", type=click.Path(path_type=Path), help="Your own image, as container.zarr/dataset.")
@click.option("--labels", type=click.Path(path_type=Path), help="Labels of the same place, whole numbers.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=2.0, help="Training time on two cores.")
@click.option("--overwrite", is_flag=True, help="Delete an earlier demo in the folder first.")
def demo(output: Path, raw: Path | None, labels: Path | None, minutes: float, overwrite: bool) -> None:
    """Train a small network on synthetic tissue, or on your own data, and segment a volume that it has not seen.

    Nothing is downloaded. The folder keeps data, run, results and a picture; a demo that was interrupted goes on.
    """
    from dacapo.demo import demo as run_demo

    done = run_demo(output, raw, labels, minutes, overwrite)
    click.echo(f"\nVariation of information on an unseen volume, in bits, 0 is perfect:\n\n{done.table}\n")
    click.echo(f"Picture: {done.picture}\n\nTry next:\n")
    for line in done.next_steps:
        click.echo(f"  {line}")


cli.add_command(config_commands)


def _one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return f"WARNING: {' '.join(str(message).split())}\n"


def main() -> None:
    """Run the command line; warnings are one line each, without the place in the code."""
    warnings.formatwarning = _one_line
    cli()


if __name__ == "__main__":
    main()
