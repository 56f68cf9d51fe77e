"""The job of a worker: its worker module, the arguments, and the settings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from dacapo.blockwise.worker.user_modules import ProcessBlock, open_module
from dacapo.errors import ConfigError
from dacapo.store.files import is_file
from dacapo.utils.plain_json import parse_json

JOB_VARIABLE = "DACAPO_WORKER_JOB"
"""Environment variable with the path of the :data:`JOB_FILE`; a job can be too large for the variable itself."""
JOB_FILE = "job.json"
"""File in the log folder that holds the job."""


@attrs.frozen
class Job:
    """All that the workers of a task need to know.

    Attributes:
        worker_file: The worker module, a Python file or an import path.
        args: For the worker's function.
        kwargs: For the worker's function.
        log_dir: Folder for reports of failures; None in a task of the user, where Daisy reports them.
        options: The settings of the process that started the workers.
        time_limit: Seconds after which a worker is killed; None if it may stay, or it is unknown.
        end_variable: Environment variable in which a worker finds when that is; empty for none.
        timeout: Seconds after which a worker kills itself if a block is not done; None for no limit.
    """

    worker_file: str
    args: list[Any]
    kwargs: dict[str, Any]
    log_dir: str | None
    options: dict[str, Any]
    time_limit: float | None = None
    end_variable: str = ""
    timeout: float | None = None

    def to_json(self) -> str:
        """Return the job as text.

        Raises:
            ConfigError: If JSON cannot hold an argument.
        """
        return _as_json(attrs.asdict(self, recurse=False))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Return the job that :meth:`to_json` wrote."""
        return cls(**parse_json(text))

    def deadline(self, started: float) -> float | None:
        """Return the time by which a worker should have left: half a minute before it is killed, less in short jobs.

        Args:
            started: When the worker started, in seconds since 1970, as is the result.

        Returns:
            None if it may stay, or the end is unknown.
        """
        told = os.environ.get(self.end_variable, "")
        limit = float(told) - started if told.isdigit() else self.time_limit
        return None if limit is None else started + limit - min(30.0, limit / 10)

    def open(self) -> ProcessBlock | None:
        """Load the worker module and return its function for one block, see :func:`.open_module`."""
        return open_module(self.worker_file, self.args, self.kwargs)


def write_job(job: str, log_dir: Path) -> Path:
    """Return the file in the log folder that holds a job; the first worker to start writes it.

    Args:
        job: The job as text, from :meth:`Job.to_json`.
        log_dir: The folder, on a file system that the workers see.
    """
    file = log_dir / JOB_FILE
    if not is_file(file):
        partial = file.with_suffix(f".{os.getpid()}.partial")
        # Settings may hold passwords.
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as handle:
            handle.write(job)
        partial.replace(file)
    return file


def plain_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as they arrive at a worker.

    Raises:
        ConfigError: If JSON cannot hold one of them.
    """
    plain: dict[str, Any] = parse_json(_as_json(values))
    return plain


def _as_json(values: dict[str, Any]) -> str:
    try:
        return json.dumps(values, default=_plain)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the arguments for a worker cannot be sent to another process: {error}; "
            "give numbers, strings, lists, dicts or paths"
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{value!r} is a {type(value).__name__}")
