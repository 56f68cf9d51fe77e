"""The command line: ``dacapo train RUN``, ``validate``, ``predict``, ``apply``, ``demo``.

Errors that a user can mend are printed on one line, and the exit status is 1. Modules that load torch are imported by
the command that needs them, so that ``--help`` is quick.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dacapo.errors import DacapoError
from dacapo.options import Options


class _Group(click.Group):
    """A group that turns errors of this package into one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DacapoError as error:
            if logging.getLogger("dacapo").isEnabledFor(logging.DEBUG):
                raise
            raise click.ClickException(" ".join(str(error).split())) from error
        except KeyboardInterrupt:
            raise click.ClickException("interrupted; what was saved before is kept") from None


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


def _input_and_output(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what predict and apply have in common."""
    for option in (
        click.option("--overwrite/--no-overwrite", default=True, help="Replace earlier results of dacapo."),
        click.option(
            "--output-dtype",
            type=click.Choice(["uint8", "float32"]),
            default="uint8",
            help="Type of the prediction; uint8 scales its range to 0..255.",
        ),
        click.option("--num-workers", type=click.IntRange(1), default=30, help="Number of worker processes."),
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
        return Roi(tuple(begin for begin, _ in limits), tuple(end - begin for begin, end in limits))
    except ValueError:
        expected = "begin:end per axis in world units, such as [0:400,0:1000,200:1200]"
        raise click.BadParameter(f"{value!r} is not {expected}") from None


@cli.command()
@click.argument("run_name")
def train(run_name: str) -> None:
    """Train RUN_NAME to its end, going on from its last checkpoint.

    Ctrl-C finishes the iteration, saves and stops; the same command goes on.
    """
    from dacapo.train import train as train_run

    run = train_run(run_name)
    done = run.training_stats.trained_until()
    click.echo(f"{run_name}: trained {done} of {run.train_until} iterations")


@cli.command()
@click.argument("run_name")
@click.argument("iteration", type=click.IntRange(0))
def validate(run_name: str, iteration: int) -> None:
    """Score the checkpoint of ITERATION of RUN_NAME on its validation data."""
    from dacapo.report import score_table
    from dacapo.validate import validate as validate_run

    validate_run(run_name, iteration)
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
    overwrite: bool = True,
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
    overwrite: bool = True,
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
    )
    click.echo(f"{applied.output.container}/{applied.output.dataset}")


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


def main() -> None:
    """Run the command line."""
    cli()


if __name__ == "__main__":
    main()
