"""Files in the log folder of a task that say what failed, and why.

They are how workers, which may run on other machines, tell the process that hands out the blocks.
"""

from __future__ import annotations

import errno
import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import daisy.v2 as daisy

from dacapo.errors import StorageError

logger = logging.getLogger(__name__)

START_ERROR = "start_error.txt"
"""File in the log folder that a worker leaves behind when it cannot start, or no other could go on either."""
KEPT_ROOM = "room"
"""File in the log folder whose room :func:`report_stop` may need."""
DISK_FULL = "the disk is full, so no more blocks are begun"
_ROOM = 4096
_TAKEN, _DEAD = "taken_", "dead_"
# Where a compute context says how a command ended, this comes before its output.
_OUTPUT_ENDS = "; its output ends:\n"


def report_file(log_dir: str | Path, number: int) -> Path:
    """Return the file that says why the block of a number failed."""
    return Path(log_dir) / f"block_{number}.txt"


def log_file(log_dir: str | Path, worker: int) -> Path:
    """Return the file with the output of a worker."""
    return Path(log_dir) / f"worker_{worker}.log"


def report(file: Path, title: str, error: BaseException) -> None:
    """Write down an error: what failed, the error in a line, and its traceback.

    If the file cannot be written they are only in the log of this process.
    """
    text = f"{title}\n{_in_a_line(error)}\n\n{''.join(traceback.format_exception(error))}"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as full:
        with suppress(OSError):
            file.unlink(missing_ok=True)  # what was written of it says nothing
        logger.error("cannot write %s: %s\n%s", file, full, text)


def _in_a_line(error: BaseException) -> str:
    message = str(error).strip().splitlines()
    return f"{type(error).__name__}: {message[0]}" if message else type(error).__name__


def reported(file: Path) -> tuple[str, str]:
    """Return what :func:`report` wrote of what failed, and the error in a line."""
    title, error, *_ = [*file.read_text(encoding="utf-8").splitlines(), "", ""]
    return title, error.strip()


def report_death(log_dir: Path, worker: int, error: BaseException) -> None:
    """Write down, also at the end of its log, how a worker ended that should not have."""
    command, _, output = str(error).partition(_OUTPUT_ENDS)
    last = output.strip().splitlines()[-1:]
    text = ": ".join([" ".join(command.split()), *last])
    with suppress(OSError):
        with log_file(log_dir, worker).open("a", encoding="utf-8") as log:
            log.write(f"{text}\n")
        (log_dir / f"{_DEAD}{worker}.txt").write_text(text, encoding="utf-8")


def deaths(log_dir: Path) -> list[str]:
    """Return how workers ended that should not have, the last one at the end, and where more can be read of each."""
    files = sorted(log_dir.glob(f"{_DEAD}*.txt"), key=lambda file: file.stat().st_mtime_ns)
    numbers = [int(file.stem.removeprefix(_DEAD)) for file in files]
    return [
        f"{file.read_text(encoding='utf-8')} ({log_file(log_dir, number)})"
        for file, number in zip(files, numbers, strict=True)
    ]


@contextmanager
def noted(log_dir: Path, worker: int, block: daisy.Block) -> Iterator[None]:
    """Keep a note of what a worker does, which stays where it does not come to an end."""
    file = log_dir / f"{_TAKEN}{block.block_id[1]}.json"
    with suppress(OSError):
        file.write_text(json.dumps({"worker": worker, "block": str(block.write_roi)}), encoding="utf-8")
    yield
    with suppress(OSError):
        file.unlink(missing_ok=True)


def unfinished(log_dir: Path) -> dict[int, tuple[str, int]]:
    """Return by their numbers the blocks that workers did not come to an end with: their regions, and which worker."""
    found = {}
    for file in log_dir.glob(f"{_TAKEN}*.json"):
        with suppress(OSError, ValueError):  # its worker may have died while it wrote this
            note = json.loads(file.read_text(encoding="utf-8"))
            found[int(file.stem.removeprefix(_TAKEN))] = note["block"], note["worker"]
    return found


def report_stop(log_dir: str | Path, title: str, error: BaseException) -> None:
    """Write down why no worker can go on; into room that was kept for this if there is none left on the disk."""
    file, kept = Path(log_dir) / START_ERROR, Path(log_dir) / KEPT_ROOM
    report(file, title, error)
    with suppress(OSError):
        if not file.exists():
            with kept.open("r+b") as handle:
                handle.write(f"{title}\n{_in_a_line(error)}\n".encode()[:_ROOM])
            kept.rename(file)


def keep_room(log_dir: Path) -> None:
    """Keep room for :func:`report_stop`.

    Raises:
        StorageError: If there is none.
    """
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        (log_dir / KEPT_ROOM).write_bytes(b" " * _ROOM)
    except OSError as error:
        raise StorageError(f"cannot write {log_dir}: {error}") from error


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error, or one that led to it, says that nothing more can be written."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False
