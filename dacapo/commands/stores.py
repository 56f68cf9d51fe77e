"""The commands about stores: migrate."""

from __future__ import annotations

import click

from dacapo.commands import parameters as given


@click.group()
def store() -> None:
    """Work with the stores of configs, statistics and scores."""


@store.command(cls=given.Command)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def migrate(source: str, target: str) -> None:
    """Copy all configs, statistics and scores from one store to another, and compare the copy.

    FROM and TO are each a folder of runs, a file of options, or the address of a database, such as
    sqlite:////data/dacapo.db, postgresql://user@host/lab or mongodb://host/lab. The same command can be repeated; it
    copies what was added since. Checkpoints and arrays are files and stay where they are.
    """
    from dacapo.store.migrate import migrate as copy
    from dacapo.store.migrate import place_of

    copied = copy(place_of(source), place_of(target))
    click.echo(
        f"The target holds all {copied.configs} configs, and of {copied.runs} runs {copied.iterations} iterations and "
        f"{copied.validations} validations."
    )


COMMANDS = (store,)
