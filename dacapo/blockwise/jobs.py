"""What the workers of a task are told: the worker module, its arguments, and the settings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from dacapo.errors import ConfigError

JOB_VARIABLE = "DACAPO_WORKER_JOB"
"""The variable with the path of the :data:`JOB_FILE`; a job itself can be larger than an environment may be."""
JOB_FILE = "job.json"
"""File in the log folder that says what the workers do."""


@attrs.frozen
class Job:
    """What the workers of a task need to know.

    Attributes:
        worker_file: The worker module, a Python file or an import path.
        args: For the worker's function.
        kwargs: For the worker's function.
        log_dir: Folder for reports of what failed; None in a task of the user, to whom Daisy reports.
        options: The settings of the process that started the workers.
    """

    worker_file: str
    args: list[Any]
    kwargs: dict[str, Any]
    log_dir: str | None
    options: dict[str, Any]

    def to_json(self) -> str:
        """Return the job as text.

        Raises:
            ConfigError: If an argument is nothing that JSON can hold.
        """
        return _as_json(attrs.asdict(self, recurse=False))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Return the job that :meth:`to_json` wrote."""
        return cls(**json.loads(text))


def write_job(job: str, log_dir: Path) -> Path:
    """Return the file in the log folder that holds a job, written by the first worker that is started.

    Args:
        job: What :meth:`Job.to_json` returned.
        log_dir: The folder, on a file system that the workers see.
    """
    file = log_dir / JOB_FILE
    if not file.exists():
        partial = file.with_suffix(f".{os.getpid()}.partial")
        # Settings can hold passwords.
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as handle:
            handle.write(job)
        partial.replace(file)
    return file


def plain_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as they arrive at a worker.

    Raises:
        ConfigError: If there is something that JSON cannot hold.
    """
    plain: dict[str, Any] = json.loads(_as_json(values))
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
