"""The commands that work with a run: train, validate, predict, apply."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from dacapo.commands import parameters as given
from dacapo.utils.paths import shown

# Exit statuses of commands that Ctrl-C or SIGTERM ended, by the convention of shells.
INTERRUPTED = 130
TERMINATED = 143


@click.command(cls=given.Command)
@given.run_name
@click.option(
    "--devices",
    type=click.IntRange(1),
    default=1,
    metavar="NUMBER",
    help="Number of processes that train together, each on its own GPU if available.",
)
@click.option(
    "--max-memory",
    metavar="SIZE",
    help="Memory limit of training on each device, such as 8GB; if necessary, the samples of an iteration are divided "
    "into smaller batches.",
)
@click.option(
    "--iterations",
    type=click.IntRange(1),
    metavar="NUMBER",
    help="Lengthen the run to this number of iterations in all first.",
)
@click.option(
    "--check/--no-check",
    default=True,
    show_default="check",
    help="Look at a sample of the data before the first iteration, as dacapo doctor does; errors stop.",
)
@click.option(
    "--logger",
    "loggers",
    multiple=True,
    metavar="NAME",
    help="Log to tensorboard, wandb or a logger of your own; several may be given. By default to those of the option "
    "loggers.",
)
@click.option("--force", is_flag=True, help="Go on with a training that ended early because it no longer improved.")
def train(
    run_name: str,
    devices: int = 1,
    max_memory: str | None = None,
    iterations: int | None = None,
    check: bool = True,
    loggers: tuple[str, ...] = (),
    force: bool = False,
) -> None:
    """Train RUN_NAME to its end, resuming from its last checkpoint.

    Ctrl-C finishes the current iteration, saves it and exits with status 130; run the same command to resume. Instead
    of --devices, a launcher may start the processes: torchrun --nproc-per-node=2 -m dacapo train RUN_NAME.
    """
    from dacapo.train import load_run, progress_of, train_or_stop
    from dacapo.utils import distributed

    if devices > 1:
        # Without this, click would repeat the error that the failing rank has already reported.
        logging.getLogger("torch.distributed.elastic.multiprocessing.api").disabled = True
        options = [] if max_memory is None else ["--max-memory", max_memory]
        options += [] if iterations is None else ["--iterations", str(iterations)]
        options += [] if check else ["--no-check"]
        options += ["--force"] if force else []
        options += [word for name in loggers for word in ("--logger", name)]
        raise SystemExit(
            distributed.launch(_same_command(click.get_current_context(), "train", *options, "--", run_name), devices)
        )
    with distributed.process_group():
        main = distributed.is_main()
        if not main:
            logging.getLogger("dacapo").setLevel(logging.ERROR)
        run = load_run(run_name, iterations)
        stopped = train_or_stop(run, max_memory, check, loggers or None, force)
    if main:
        click.echo(progress_of(run))
    if main and stopped:
        # Not 0, so that a script does not mistake the run for finished.
        raise SystemExit(INTERRUPTED)


def _same_command(ctx: click.Context, *arguments: str) -> list[str]:
    """Return the arguments of ``python`` that call a command with the same general options."""
    general = ctx.find_root().params
    options = ["--log-level", general["log_level"]]
    if general["runs_dir"] is not None:
        options += ["--runs-dir", str(general["runs_dir"])]
    return ["-m", "dacapo", *options, *arguments]


@click.command(cls=given.Command)
@given.run_name
@given.iteration
@given.num_workers
@given.max_memory
@given.tta
@given.output_dtype
@click.option(
    "-ow",
    "--overwrite/--no-overwrite",
    default=True,
    show_default="overwrite",
    help="Replace earlier scores of the iteration.",
)
def validate(
    run_name: str,
    iteration: int,
    num_workers: int | None = None,
    output_dtype: str = "uint8",
    overwrite: bool = True,
    max_memory: str | None = None,
    tta: str = "none",
) -> None:
    """Score the checkpoint of ITERATION of RUN_NAME on its validation data."""
    from dacapo.tables import score_table
    from dacapo.validate import validate as validate_run

    validate_run(run_name, iteration, num_workers, output_dtype, overwrite, max_memory=max_memory, tta=tta)
    click.echo(score_table(run_name, iteration))


@click.command(cls=given.Command)
@given.run_name
@given.iteration
@given.prediction
@given.roi_option("-roi", "--roi", "--output-roi", "output_roi")
def predict(
    run_name: str,
    iteration: int,
    input_container: Path,
    input_dataset: str,
    output_path: Path,
    output_roi: Any = None,
    num_workers: int | None = None,
    output_dtype: str = "uint8",
    overwrite: bool = False,
    max_memory: str | None = None,
    precision: str = "float32",
    file_format: str = "zarr",
    tta: str = "none",
    pyramid: bool = True,
    reading: dict[str, Any] | None = None,
) -> None:
    """Predict a volume with the checkpoint of ITERATION of RUN_NAME."""
    from dacapo.predict import predict as predict_volume

    output = predict_volume(
        run_name,
        iteration,
        *_volume(input_container, input_dataset, reading),
        output_path,
        output_roi,
        num_workers,
        output_dtype,
        overwrite,
        resume=not overwrite,
        max_memory=max_memory,
        precision=precision,
        file_format=file_format,
        tta=tta,
        pyramid=pyramid,
    )
    click.echo(shown(output.container / output.dataset))


@click.command(cls=given.Command)
@given.run_name
@given.prediction
@click.option(
    "-vd",
    "--validation-dataset",
    metavar="NAME",
    help="Validation dataset whose scores decide; by default the mean over all.",
)
@click.option("-c", "--criterion", default="voi", metavar="NAME", help="The score that decides.")
@click.option(
    "-i", "--iteration", type=click.IntRange(0), metavar="NUMBER", help="Checkpoint to use; by default the best."
)
@click.option(
    "-p",
    "--parameters",
    metavar="TEXT",
    help='Post-processing parameters to use, such as "ThresholdPostProcessorParameters(id=5, threshold=131)"; by '
    "default the best.",
)
@given.roi_option("-roi", "--roi")
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
    num_workers: int | None = None,
    output_dtype: str = "uint8",
    overwrite: bool = False,
    max_memory: str | None = None,
    precision: str = "float32",
    file_format: str = "zarr",
    tta: str = "none",
    pyramid: bool = True,
    reading: dict[str, Any] | None = None,
) -> None:
    """Segment a volume with the best checkpoint and parameters of RUN_NAME."""
    from dacapo.apply import apply as apply_to_volume

    applied = apply_to_volume(
        run_name,
        *_volume(input_container, input_dataset, reading),
        output_path,
        validation_dataset,
        criterion,
        iteration,
        parameters,
        roi,
        num_workers,
        output_dtype,
        overwrite,
        file_format,
        resume=not overwrite,
        max_memory=max_memory,
        precision=precision,
        tta=tta,
        pyramid=pyramid,
    )
    click.echo(shown(applied.output.container / applied.output.dataset))


def _volume(container: Path, dataset: str, reading: dict[str, Any] | None) -> tuple[Any, str | None]:
    """Return a volume as operations take it: where it is, or a config if options say how to read it."""
    if not reading:
        return container, dataset
    from dacapo.experiments.datasplits.datasets.arrays import config_for

    return config_for(container, dataset, **reading), None


@click.command()
def runs() -> None:
    """List the stored runs; see also dacapo run list."""
    from dacapo.tables import run_table

    click.echo(run_table())


COMMANDS = (train, validate, predict, apply, runs)
