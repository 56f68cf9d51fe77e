"""The commands below ``dacapo run``: list, show, compare, delete, export and import stored runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from dacapo.commands import parameters as given


@click.group()
def run() -> None:
    """List, show, compare, delete, export and import stored runs."""


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


@run.command(cls=given.Command)
@given.run_name
@given.by_place_or_name("-o", "--output", type=click.Path(path_type=Path), help="Archive to write, .tar.gz or .zip.")
@click.option(
    "--arrays/--no-arrays",
    default=True,
    show_default="arrays",
    help="Include the best outputs of validation, and snapshots of batches.",
)
@click.option("-ow", "--overwrite/--no-overwrite", default=False, help="Replace the archive if it exists.")
@given.as_json
def export(run_name: str, output: Path, arrays: bool = True, overwrite: bool = False, as_json: bool = False) -> None:
    """Write a run with its checkpoints and records to one archive, to move it to another machine or store.

    The data it was trained on is not included.
    """
    from dacapo.runs.exporting import export_run

    done = export_run(run_name, output, arrays, overwrite)
    click.echo(_json(done.as_plain()) if as_json else str(done))


@run.command("import", cls=given.Command)
@click.argument("archive", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", metavar="NAME", help="Another name for the run.")
@given.as_json
def import_(archive: Path, name: str | None = None, as_json: bool = False) -> None:
    """Store a run from an ARCHIVE that dacapo run export wrote; all checksums are compared."""
    from dacapo.runs.importing import import_run

    done = import_run(archive, name)
    click.echo(_json(done.as_plain()) if as_json else str(done))


def _json(plain: Any) -> str:
    return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)


COMMANDS = (run,)
