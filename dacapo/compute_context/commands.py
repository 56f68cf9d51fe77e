"""Following a command of a compute context until it ends, and the job of a cluster that it stands for."""

from __future__ import annotations

import logging
import subprocess
from collections import deque
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dacapo.compute_context.compute_context import ComputeContext

logger = logging.getLogger(__name__)

_TAIL = 30
_GRACE = 5.0
_JOB_NOTE = ".job_id"


def follow(process: subprocess.Popen[str], log: Path | None, context: ComputeContext) -> deque[str]:
    """Log the output of a process until it ends, and return the last lines.

    Args:
        process: The process. An exception in this one, such as an interrupt, ends it.
        log: File that the output is appended to, beside which the id of a job is noted as long as it runs.
        context: Finds the id in the output, and cancels the job if the process is ended.
    """
    tail: deque[str] = deque(maxlen=_TAIL)
    job: str | None = None
    try:
        assert process.stdout is not None
        with nullcontext() if log is None else log.open("ab", buffering=0) as file:
            for line in process.stdout:
                logger.info(line.rstrip("\n"))
                if context.tells_cause(line):
                    tail.append(line)
                if (named := context.job_in(line)) is not None and named != job:
                    job = named
                    _note_job(log, job)
                if file is not None:
                    with suppress(OSError):  # a full disk need not affect the command
                        file.write(line.encode())
    except BaseException:  # an interrupt ends the command too
        _end(process)
        if job is not None:
            context.cancel(job)
        raise
    finally:
        process.wait()
        if job is not None and log is not None:
            log.with_suffix(_JOB_NOTE).unlink(missing_ok=True)
    return tail


def _note_job(log: Path | None, job: str) -> None:
    if log is not None:
        with suppress(OSError):  # then nobody is told why the job waits
            log.with_suffix(_JOB_NOTE).write_text(job, encoding="utf-8")


def jobs_in(log_dir: Path) -> set[str]:
    """Return the ids of the jobs whose commands run, with logs in a folder."""
    found = set()
    for note in log_dir.glob(f"*{_JOB_NOTE}"):
        with suppress(OSError):  # the job ended while we looked
            found.add(note.read_text(encoding="utf-8"))
    return found


def _end(process: subprocess.Popen[str]) -> None:
    """End a process, and give it time to end jobs that it has started."""
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
