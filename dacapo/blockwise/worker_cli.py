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


def input_options(command: Command) -> Command:
    """Add where the input is."""
    command = click.option("-id", "--input_dataset", required=True, help="Dataset of the input.")(command)
    return click.option("-ic", "--input_container", required=True, help="Container of the input.")(command)


def output_options(command: Command) -> Command:
    """Add where the output is, which exists already."""
    command = click.option("-od", "--output_dataset", required=True, help="Dataset of the output.")(command)
    return click.option("-oc", "--output_container", required=True, help="Container of the output.")(command)


def tmpdir_option(command: Command) -> Command:
    """Add the folder that the workers of a segmentation share."""
    return click.option("--tmpdir", required=True, help="Folder for what lies between the workers.")(command)
