"""The command line that worker modules share: ``python -m dacapo.blockwise.threshold_worker start-worker ...``.

It runs in a worker process of a Daisy task, see :mod:`dacapo.blockwise`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]

_LEVELS = click.Choice(("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), case_sensitive=False)


def worker_cli(help_text: str, start_worker: Command, *options: Callable[[Command], Command]) -> click.Group:
    """Return the command line of a worker module; its function stays callable.

    Args:
        help_text: Description of the worker module.
        start_worker: The function that the command ``start-worker`` calls.
        *options: Add the flags of that command.
    """

    @click.group(help=help_text)
    @click.option("--log-level", type=_LEVELS, default="INFO", help="Lowest level of messages on stderr.")
    def cli(log_level: str) -> None:
        logging.basicConfig(level=log_level.upper(), format="%(levelname)s: %(message)s")

    for option in reversed(options):
        start_worker = option(start_worker)
    cli.command("start-worker", help="Do the blocks of the Daisy task that has started this process.")(start_worker)
    return cli


def array_options(*names: str, short: bool = True) -> Callable[[Command], Command]:
    """Return a decorator that adds the flags for arrays to a command.

    Args:
        *names: Of the arrays: ``input``, ``output``, which must exist.
        short: Whether to add short flags, too, such as ``-ic`` for ``--input_container``.
    """

    def add(command: Command) -> Command:
        for name in reversed(names):
            for part in ("dataset", "container"):
                flags = [f"-{name[0]}{part[0]}"] if short else []
                help_text = f"{part.capitalize()} of the {name}."
                command = click.option(*flags, f"--{name}_{part}", required=True, help=help_text)(command)
        return command

    return add


tmpdir_option = click.option("--tmpdir", required=True, help="Folder that the workers of a segmentation share.")
