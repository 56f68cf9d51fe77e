"""The record that a training ended early, in ``<runs_base_dir>/<run>/checkpoints/early_end.json``.

It lies beside the checkpoints, since it goes where they go, and means nothing without them.
"""

from __future__ import annotations

import json
from pathlib import Path

import attrs

from dacapo.errors import DamagedFileError
from dacapo.options import DaCapoConfig
from dacapo.store.files import is_file, read_text, write_text
from dacapo.store.run_folder import CHECKPOINTS, run_folder
from dacapo.utils.plain_json import parse_json

FILE = "early_end.json"


@attrs.frozen
class EarlyEnd:
    """Where and why a training ended early.

    Attributes:
        iteration: Number of iterations that it did.
        num_iterations: Number of iterations that it was to do.
        reason: Why, as the second half of a sentence.
    """

    iteration: int
    num_iterations: int
    reason: str


def write_early_end(run_name: str, end: EarlyEnd) -> None:
    """Record that a training ended early, in place of an earlier record.

    Raises:
        StorageError: If the file cannot be written.
    """
    write_text(_file(run_name), json.dumps(attrs.asdict(end)))


def read_early_end(run_name: str, trained: int, options: DaCapoConfig | None = None) -> EarlyEnd | None:
    """Return the record that a training ended early; None without one.

    Args:
        run_name: Name of the run.
        trained: Number of iterations that the run was trained for. A record of a later one is left of a training that
            was deleted.
        options: Name the folder of runs; by default those in use.

    Raises:
        DamagedFileError: If the file holds something else.
        StorageError: If it cannot be read.
    """
    path = _file(run_name, options)
    if not is_file(path):
        return None
    try:
        plain = parse_json(read_text(path))
        end = EarlyEnd(int(plain["iteration"]), int(plain["num_iterations"]), str(plain["reason"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{path} holds no record of an early end; delete it") from error
    return end if end.iteration <= trained else None


def early_end_at(run_name: str, trained: int, options: DaCapoConfig | None = None) -> EarlyEnd | None:
    """Return the record of the early end that a run is at, None if it was trained for more, or has not ended early."""
    end = read_early_end(run_name, trained, options)
    return end if end is not None and end.iteration == trained else None


def _file(run_name: str, options: DaCapoConfig | None = None) -> Path:
    return run_folder(run_name, options) / CHECKPOINTS / FILE
