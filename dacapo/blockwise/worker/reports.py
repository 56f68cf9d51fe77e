"""Reports of failures, as files in the log folder of a task.

Workers may run on other machines; through these files they tell the scheduling process which block failed, and why.
"""

from __future__ import annotations

import errno
import logging
import traceback
from contextlib import suppress
from pathlib import Path

from dacapo.store.files import make_folder, paths_named, storage_error

logger = logging.getLogger(__name__)

START_ERROR = "start_error.txt"
"""File in the log folder that a worker writes if no worker can start or continue."""
RESERVE = "reserved_space"
"""File in the log folder whose space :func:`report_stop` takes over on a full disk."""
DISK_FULL = "the disk is full, so no more blocks are started"
_RESERVED_BYTES = 4096
_DEAD = "dead_"
# Separates how a command ended from its output, in errors of a compute context.
_OUTPUT_ENDS = "; its output ends:\n"


def report_file(log_dir: str | Path, number: int) -> Path:
    """Return the file that says why a block failed."""
    return Path(log_dir) / f"block_{number}.txt"


def log_file(log_dir: str | Path, worker: int) -> Path:
    """Return the file with the output of a worker."""
    return Path(log_dir) / f"worker_{worker}.log"


def report(file: Path, title: str, error: BaseException) -> None:
    """Write an error to a file: what failed, the error in a line, and its traceback.

    If the file cannot be written, they go to the log of this process only.
    """
    text = f"{title}\n{_in_a_line(error)}\n\n{''.join(traceback.format_exception(error))}"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as full:
        with suppress(OSError):
            file.unlink(missing_ok=True)  # a truncated report says nothing
        logger.error("cannot write %s: %s\n%s", file, full, text)


def _in_a_line(error: BaseException) -> str:
    message = str(error).strip().splitlines()
    return f"{type(error).__name__}: {message[0]}" if message else type(error).__name__


def reported(file: Path) -> tuple[str, str]:
    """Return the title and the error line that :func:`report` wrote."""
    title, error, *_ = [*file.read_text(encoding="utf-8").splitlines(), "", ""]
    return title, error.strip()


def report_end(log_dir: Path, worker: int, error: BaseException, why: str) -> None:
    """Write to the end of the log of a worker how it ended, and why another one takes its place."""
    with suppress(OSError), log_file(log_dir, worker).open("a", encoding="utf-8") as log:
        log.write(f"{_how_it_ended(error)}; {why}, so another worker takes its place\n")


def report_death(log_dir: Path, worker: int, error: BaseException) -> None:
    """Write down how a worker died, also at the end of its log."""
    text = _how_it_ended(error)
    with suppress(OSError):
        with log_file(log_dir, worker).open("a", encoding="utf-8") as log:
            log.write(f"{text}\n")
        before = len(paths_named(log_dir, _deaths_of(worker)))
        (log_dir / f"{_DEAD}{worker}_{before}.txt").write_text(text, encoding="utf-8")


def forget_deaths(log_dir: Path, worker: int) -> None:
    """Delete what was written down about deaths in the place of a worker."""
    for file in paths_named(log_dir, _deaths_of(worker)):
        with suppress(OSError):
            file.unlink()


def deaths(log_dir: Path) -> list[str]:
    """Return how workers died, the last one at the end, each with the path of its log."""
    files = sorted(paths_named(log_dir, _deaths_of("*")), key=lambda file: file.stat().st_mtime_ns)
    numbers = [int(file.stem.removeprefix(_DEAD).partition("_")[0]) for file in files]
    return [
        f"{file.read_text(encoding='utf-8')} ({log_file(log_dir, number)})"
        for file, number in zip(files, numbers, strict=True)
    ]


def _deaths_of(worker: int | str) -> str:
    return f"{_DEAD}{worker}_*.txt"


def _how_it_ended(error: BaseException) -> str:
    """Return the error of a command in a line: its exit code, and its last line of output."""
    command, _, output = str(error).partition(_OUTPUT_ENDS)
    last = output.strip().splitlines()[-1:]
    return ": ".join([" ".join(command.split()), *last])


def report_stop(log_dir: str | Path, title: str, error: BaseException) -> None:
    """Write down why no worker can continue, on a full disk in the space that was reserved for it."""
    file, kept = Path(log_dir) / START_ERROR, Path(log_dir) / RESERVE
    report(file, title, error)
    with suppress(OSError):
        if not file.exists():
            with kept.open("r+b") as handle:
                handle.write(f"{title}\n{_in_a_line(error)}\n".encode()[:_RESERVED_BYTES])
            kept.rename(file)


def reserve_space(log_dir: Path) -> None:
    """Reserve space on disk for :func:`report_stop`.

    Raises:
        StorageError: If the disk is full.
    """
    make_folder(log_dir)
    try:
        (log_dir / RESERVE).write_bytes(b" " * _RESERVED_BYTES)
    except OSError as error:
        raise storage_error("write", log_dir / RESERVE, error) from error


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error, or one of its causes, says that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False
