"""The command line: ``dacapo train RUN``, ``validate``, ``predict``, ``apply``, ``run-blockwise``, ``demo``, and more.

Errors that a user can mend are printed on one line, and the exit status is 1. Modules that load torch are imported by
the command that needs them, so that ``--help`` is quick.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import click

from dacapo.commands import blockwise, parameters, runs
from dacapo.commands.blockwise import get_rois, run_blockwise, segment_blockwise, unpack_ctx
from dacapo.commands.runs import apply, predict, train, validate
from dacapo.config_commands import config as config_commands
from dacapo.errors import BlockwiseError, DacapoError
from dacapo.options import Options

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
            raise SystemExit(runs.INTERRUPTED) from None


@click.group(cls=_Group, context_settings=parameters.SETTINGS)
@click.version_option(package_name="dacapo")
@click.option(
    "--log-level",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], case_sensitive=False),
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


for command in (*runs.COMMANDS, *blockwise.COMMANDS, config_commands):
    cli.add_command(command)


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
