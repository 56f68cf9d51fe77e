"""The commands below ``dacapo run``: list, show, compare and delete stored runs."""

from __future__ import annotations

import json
from typing import Any

import click

from dacapo.commands import parameters as given


@click.group()
def run() -> None:
    """List, show, compare and delete stored runs."""


@run.command("list")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...", shell_complete=given.complete_runs)
@click.option("--task", metavar="NAME", help="Only runs whose task has this name.")
@click.option("--architecture", metavar="NAME", help="Only runs whose architecture has this name.")
@click.option("--trainer", metavar="NAME", help="Only runs whose trainer has this name.")
@click.option("--datasplit", metavar="NAME", help="Only runs whose data split has this name.")
@click.option(
    "--status", type=click.Choice(["new", "running", "stopped", "finished"]), help="Only runs with this status."
)
@click.option(
    "--sort",
    type=click.Choice(["name", "changed", "trained", "score"]),
    default="name",
    help="Order: by name, or first the last changed, the longest trained, or the best score.",
)
@given.as_json
def list_(patterns: tuple[str, ...], as_json: bool = False, **filters: str | None) -> None:
    """List the stored runs: progress, last validation, best score, time, and who works on them.

    PATTERNs, such as 'cells_*', choose by name.
    """
    from dacapo.runs.listing import list_runs, run_list

    found = list_runs(*patterns, **filters)  # type: ignore[arg-type]
    click.echo(_json([one.as_plain() for one in found]) if as_json else run_list(found))


@run.command(cls=given.Command)
@given.run_name
@given.as_json
def show(run_name: str, as_json: bool = False) -> None:
    """Show a stored run: progress, best scores, training sessions with versions and machine, and its config."""
    from dacapo.runs.details import show_run

    found = show_run(run_name)
    click.echo(_json(found.as_plain()) if as_json else str(found))


@run.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...", shell_complete=given.complete_runs)
@given.as_json
def compare(runs: tuple[str, ...], as_json: bool = False) -> None:
    """Compare stored runs: their best scores side by side, and the settings in which they differ."""
    from dacapo.runs.comparison import compare_runs

    found = compare_runs(*runs)
    click.echo(_json(found.as_plain()) if as_json else str(found))


@run.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=given.complete_runs)
@click.option("--yes", is_flag=True, help="Do not ask.")
@given.as_json
def delete(runs: tuple[str, ...], yes: bool = False, as_json: bool = False) -> None:
    """Delete stored runs: checkpoints, arrays, statistics, scores and configs. Says what it removes, and asks first."""
    from dacapo.runs.deletion import delete_run, removal_of

    for name in runs:  # all of them first, so that a wrong name deletes nothing
        click.echo(f"to delete: {removal_of(name)}", err=as_json)
    if not yes:
        click.confirm(f"Delete {'this run' if len(runs) == 1 else f'these {len(runs)} runs'}?", abort=True, err=as_json)
    removed = [delete_run(name) for name in runs]
    if as_json:
        click.echo(_json([one.as_plain() for one in removed]))
        return
    for one in removed:
        stays = f"; not of dacapo, and left in its folder: {', '.join(one.left)}" if one.left else ""
        click.echo(f"deleted run {one.name}{stays}")


def _json(plain: Any) -> str:
    return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)


COMMANDS = (run,)
