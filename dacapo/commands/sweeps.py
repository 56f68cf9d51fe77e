"""The command that trains the runs of a sweep."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dacapo.commands import parameters as given

if TYPE_CHECKING:
    from dacapo.sweep import SweepResult


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--dry-run", "mode", flag_value="dry-run", help="Check everything and print the commands that train; store nothing."
)
@click.option(
    "--commands", "mode", flag_value="commands", help="Store the configs and print the commands that train the rest."
)
@click.option("--table", "mode", flag_value="table", help="Print the table of what is trained so far.")
@click.option(
    "-c",
    "--criterion",
    metavar="NAME",
    show_default="voi, or the first one of the task",
    help="The score to compare.",
)
@given.as_json
@click.option("--max-memory", metavar="SIZE", help="As of dacapo train.")
@click.option("--check/--no-check", default=True, show_default="check", help="As of dacapo train.")
@click.option("--logger", "loggers", multiple=True, metavar="NAME", help="As of dacapo train.")
def sweep(
    file: Path,
    mode: str | None = None,
    criterion: str | None = None,
    as_json: bool = False,
    max_memory: str | None = None,
    check: bool = True,
    loggers: tuple[str, ...] = (),
) -> None:
    """Train all combinations of the values in FILE, one after another, and compare the runs in a table.

    FILE is YAML with a base config, a grid that maps fields to lists of values, and maybe repetitions and a name. The
    same command goes on after an interruption; several at the same time share the runs.
    """
    from dacapo.errors import SweepError
    from dacapo.experiments.sweep_plan import plan_sweep
    from dacapo.sweep import check_sweep, compare_sweep, is_finished, store_sweep
    from dacapo.sweep import sweep as train_sweep

    if mode is None:
        try:
            result = train_sweep(file, criterion, max_memory, check, loggers or None)
        except SweepError as error:
            _show(error.result, as_json)
            raise
        _show(result, as_json)
        return
    plan = plan_sweep(file)
    if mode == "table":
        _show(compare_sweep(plan, criterion), as_json)
        return
    check_sweep(plan, criterion)
    if mode == "commands":
        store_sweep(plan)
    folder = click.get_current_context().find_root().params.get("runs_dir")
    general = [] if folder is None else ["--runs-dir", str(folder)]
    for swept in plan.runs:
        if not is_finished(swept.config):
            click.echo(shlex.join(["dacapo", *general, "train", swept.config.name]))


def _show(result: SweepResult, as_json: bool) -> None:
    click.echo(json.dumps(result.as_plain(), indent=2, allow_nan=False) if as_json else str(result))


COMMANDS = (sweep,)
