"""The command line of the worker modules: ``python -m dacapo.blockwise.threshold_worker start-worker ...``.

A worker process of a Daisy task runs it, see :mod:`dacapo.blockwise`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def set_log_level(log_level: str) -> None:
    """Report on stderr what is of some level or above."""
    logging.basicConfig(level=log_level.upper(), format="%(levelname)s: %(message)s")


log_level_option = click.option(
    "--log-level", type=click.Choice(_LEVELS, case_sensitive=False), default="INFO", help="What is reported on stderr."
)


def add_start_worker(group: click.Group, start_worker: Command, *options: Callable[[Command], Command]) -> None:
    """Add the command ``start-worker``; the function itself stays one that can be called.

    Args:
        group: The command line of a worker module.
        start_worker: What the command calls.
        *options: Add the flags of the command.
    """
    for option in reversed(options):
        start_worker = option(start_worker)
    group.command("start-worker", help="Do the blocks of the Daisy task that has started this process.")(start_worker)


def input_options(command: Command) -> Command:
    """Add where the input is."""
    return _array_options(command, "input", "-i")


def output_options(command: Command) -> Command:
    """Add where the output is, which exists already."""
    return _array_options(command, "output", "-o")


def long_input_options(command: Command) -> Command:
    """Add the same as :func:`input_options`, without short flags."""
    return _array_options(command, "input")


def long_output_options(command: Command) -> Command:
    """Add the same as :func:`output_options`, without short flags."""
    return _array_options(command, "output")


def _array_options(command: Command, name: str, short: str = "") -> Command:
    for part in ("dataset", "container"):
        flags = [f"{short}{part[0]}"] if short else []
        help_text = f"{part.capitalize()} of the {name}."
        command = click.option(*flags, f"--{name}_{part}", required=True, help=help_text)(command)
    return command


def tmpdir_option(command: Command) -> Command:
    """Add the folder that the workers of a segmentation share."""
    return click.option("--tmpdir", required=True, help="Folder for what lies between the workers.")(command)
