"""The command line: ``dacapo train RUN``, ``validate``, ``predict``, ``apply``, ``run-blockwise``, ``demo``, and more.

Errors that a user can fix are printed on one line, and the exit status is 1. Each command imports the modules that load
torch itself, to keep ``--help`` fast.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import click

from dacapo.commands import blockwise, doctor, export, files, manage_runs, parameters, runs, stores, sweeps, watching
from dacapo.commands.blockwise import get_rois, run_blockwise, segment_blockwise, unpack_ctx
from dacapo.commands.runs import apply, predict, train, validate
from dacapo.config_commands import config as config_commands
from dacapo.errors import BlockwiseError, DacapoError
from dacapo.options import Options
from dacapo.utils.interrupts import interrupted_by_sigterm

__all__ = [
    "apply",
    "cli",
    "get_rois",
    "main",
    "predict",
    "run_blockwise",
    "segment_blockwise",
    "train",
    "unpack_ctx",
    "validate",
]


class _Group(click.Group):
    """A group that prints errors of this package on one line."""

    def invoke(self, ctx: click.Context) -> Any:
        with interrupted_by_sigterm() as sigterm:
            try:
                return super().invoke(ctx)
            except DacapoError as error:
                if logging.getLogger("dacapo").isEnabledFor(logging.DEBUG):
                    raise
                # Keep the line breaks of a list of blocks.
                lines = str(error).splitlines() if isinstance(error, BlockwiseError) else [str(error)]
                raise click.ClickException("\n".join(" ".join(line.split()) for line in lines)) from error
            except KeyboardInterrupt:
                how, status = ("terminated", runs.TERMINATED) if sigterm.arrived else ("interrupted", runs.INTERRUPTED)
                click.echo(f"Error: {how}; everything saved before is kept", err=True)
                raise SystemExit(status) from None


@click.group(cls=_Group, context_settings=parameters.SETTINGS)
@click.version_option(package_name="dacapo")
@click.option(
    "--log-level",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], case_sensitive=False),
    default="INFO",
    help="Level of messages on stderr; DEBUG also shows the traceback of an error.",
)
@click.option(
    "--runs-dir",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of configs, checkpoints and scores; by default the one set in dacapo.yaml, or ~/dacapo.",
)
def cli(log_level: str, runs_dir: Path | None = None) -> None:
    """Train networks that segment microscopy volumes, and apply them."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("dacapo").setLevel(log_level.upper())
    if runs_dir is not None:
        Options.instance(runs_base_dir=runs_dir)


@cli.command()
@click.option("--output", type=click.Path(path_type=Path), default="demo", help="Folder for all files of the demo.")
@click.option("--raw", type=click.Path(path_type=Path), help="Your image, as container.zarr/dataset.")
@click.option("--labels", type=click.Path(path_type=Path), help="Labels of the same region, as integers.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=2.0, help="Training time on two cores.")
@click.option("--overwrite", is_flag=True, help="Delete an earlier demo in the folder first.")
def demo(output: Path, raw: Path | None, labels: Path | None, minutes: float, overwrite: bool) -> None:
    """Train a small network on synthetic tissue, or on your own data, and segment a volume it has not seen.

    Nothing is downloaded. The folder keeps data, run, results and a picture; an interrupted demo resumes.
    """
    from dacapo.demo import demo as run_demo

    done = run_demo(output, raw, labels, minutes, overwrite)
    click.echo(f"\nVariation of information on an unseen volume, in bits (0 is perfect):\n\n{done.table}\n")
    click.echo(f"Picture: {done.picture}\n\nTry next:\n")
    for line in done.next_steps:
        click.echo(f"  {line}")


for command in (
    *runs.COMMANDS,
    *manage_runs.COMMANDS,
    *blockwise.COMMANDS,
    *doctor.COMMANDS,
    *export.COMMANDS,
    *files.COMMANDS,
    *stores.COMMANDS,
    *sweeps.COMMANDS,
    *watching.COMMANDS,
    config_commands,
):
    cli.add_command(command)


def _one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return f"WARNING: {' '.join(str(message).split())}\n"


def main() -> None:
    """Run the command line; print each warning on one line, without its place in the code."""
    warnings.formatwarning = _one_line
    cli()


if __name__ == "__main__":
    main()
