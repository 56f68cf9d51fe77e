"""The command that looks at a run and its data before training: doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dacapo.commands import parameters as given

if TYPE_CHECKING:
    from dacapo.experiments.config import Config
    from dacapo.experiments.preflight import Report


@click.command(cls=given.Command)
@click.argument("run_or_file", metavar="RUN|FILE")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    metavar="NUMBER",
    help="Time to spend on reading voxels, about.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def doctor(run_or_file: str, seconds: float = 5.0, as_json: bool = False) -> None:
    """Look at a run before training: a sample of its data, whether its parts fit together, and its memory and time.

    RUN is the name of a stored run; FILE is a config, YAML or JSON, of a run, a datasplit or a dataset. Prints a table
    with a line per finding and the field of the config to change. An error cannot work, a warning is odd, a note is
    worth knowing. Exits with status 1 if there are errors.
    """
    report = _report(_config_of(run_or_file), seconds)
    click.echo(json.dumps(report.as_plain(), indent=2, ensure_ascii=False) if as_json else str(report))
    if report.errors:
        raise SystemExit(1)


def _config_of(run_or_file: str) -> Config:
    """Return the config in a file, or that of a stored run."""
    from dacapo.config_commands import read_config
    from dacapo.store.create_store import create_config_store

    path = Path(run_or_file)
    if path.is_file():
        return read_config(path)
    return create_config_store().retrieve_run_config(run_or_file)


def _report(config: Config, seconds: float) -> Report:
    from dacapo.experiments.check_config import check_config

    return check_config(config, seconds)


COMMANDS = (doctor,)
