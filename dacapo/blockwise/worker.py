"""What a worker process does: get blocks and pass them to the function of a worker module.

``python -m dacapo.blockwise`` is such a process. It finds what to do in environment variables: Daisy's, which
say who hands out the blocks, and :data:`JOB_VARIABLE`, which names a file.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
import inspect
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import daisy.v2 as daisy
import numpy as np

from dacapo.errors import BlockwiseError, ConfigError, NotFoundError, StorageError
from dacapo.options import Options

logger = logging.getLogger(__name__)

JOB_VARIABLE = "DACAPO_WORKER_JOB"
"""The variable with the path of the :data:`JOB_FILE`; a job itself can be larger than an environment may be."""
JOB_FILE = "job.json"
"""File in the log folder that says what the workers do."""
START_ERROR = "start_error.txt"
"""File in the log folder that a worker leaves behind when it cannot start, or no other could go on either."""
KEPT_ROOM = "room"
"""File in the log folder whose room :func:`report_stop` may need."""
_ROOM = 4096
_TAKEN, _DEAD = "taken_", "dead_"
# Where a compute context says how a command ended, this comes before its output.
_OUTPUT_ENDS = "; its output ends:\n"
DISK_FULL = "the disk is full, so no more blocks are begun"

Process = Callable[[daisy.Block], Any]


@attrs.frozen
class Job:
    """What the workers of a task need to know.

    Attributes:
        worker_file: The worker module, a Python file or an import path.
        args: For the worker's function.
        kwargs: For the worker's function.
        log_dir: Folder for reports of what failed.
        options: The settings of the process that started the workers.
    """

    worker_file: str
    args: list[Any]
    kwargs: dict[str, Any]
    log_dir: str
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


def load_module(source: str | Path) -> ModuleType:
    """Load a user's module from a Python file or by its import path.

    Raises:
        NotFoundError: If there is no such file or module.
        BlockwiseError: If the module raises while it is loaded.
    """
    path = Path(source)
    is_file = path.suffix == ".py" or path.is_file()
    if is_file and not path.is_file():
        raise NotFoundError(f"there is no file {path}; give a Python file or the import path of a module")
    try:
        return _load_file(path) if is_file else importlib.import_module(str(source))
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{source}.".startswith(f"{error.name}."):
            raise NotFoundError(f"there is neither a file nor a module {str(source)!r}") from error
        raise BlockwiseError(f"{source} cannot be loaded: {type(error).__name__}: {error}") from error


def _load_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"dacapo_user_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file; its name should end in .py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and the like look for their module there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def function_of(module: ModuleType, source: str | Path, *names: str) -> Callable[..., Any]:
    """Return the first of some functions that a module defines.

    Raises:
        ConfigError: If it defines none of them.
    """
    for name in names:
        function = getattr(module, name, None)
        function = getattr(function, "callback", function)  # of a click command, the function itself
        if callable(function):
            return function  # type: ignore[no-any-return]
    raise ConfigError(f"{source} defines no function {' or '.join(names)}")


def check_worker(
    source: str | Path, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None
) -> None:
    """Load a worker module and check that it defines what a worker needs.

    Args:
        source: The module.
        args: What its function is to be given, if it is to be checked that it takes that.
        kwargs: The same by name.

    Raises:
        NotFoundError: If there is no such file or module.
        BlockwiseError: If the module raises while it is loaded.
        ConfigError: If it defines neither of the two functions, or that takes other arguments.
    """
    module = load_module(source)
    function = function_of(module, source, "process_block", "start_worker")
    if args is not None or kwargs is not None:
        block = (None,) if hasattr(module, "process_block") else ()
        check_arguments(function, source, [*block, *(args or ())], kwargs or {})


def check_arguments(
    function: Callable[..., Any], source: str | Path, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Check that a user's function takes some arguments, since otherwise every block would fail.

    Raises:
        ConfigError: If it does not.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # of compiled code, which need not have one
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        name = getattr(function, "__name__", "the function")
        raise ConfigError(
            f"{name} of {source} cannot be called with what was given: {error}; it takes {signature}"
        ) from error


def prepare(job: Job) -> Process | None:
    """Load the worker module of a job and return the function for one block.

    Returns:
        The function, or None if the worker has done all there was to do.
    """
    return prepare_module(job.worker_file, job.args, job.kwargs)


def prepare_module(worker_file: str, args: list[Any], kwargs: dict[str, Any]) -> Process | None:
    """Load a worker module and return the function for one block, as :func:`prepare` does."""
    module = load_module(worker_file)
    if hasattr(module, "process_block"):
        process_block = function_of(module, worker_file, "process_block")
        return lambda block: process_block(block, *args, **kwargs)
    process = function_of(module, worker_file, "start_worker")(*args, **kwargs)
    if process is not None and not callable(process):
        raise ConfigError(
            f"start_worker of {worker_file} returned {process!r}; expected a function of one block, or None"
        )
    return process  # type: ignore[no-any-return]


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
def _noted(log_dir: Path, worker: int, block: daisy.Block) -> Iterator[None]:
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


def process_blocks(process: Process, log_dir: str | Path) -> None:
    """Process blocks until there are none left, in a worker process.

    A block that fails is given back and reported, and the next one is taken; but none is when the disk is full.
    """
    client = daisy.Client()
    while not (Path(log_dir) / START_ERROR).exists():
        with client.acquire_block() as block:
            if block is None:
                return
            with _noted(Path(log_dir), client.worker_id, block):
                # What Daisy sees itself it writes to the terminal, with a traceback.
                try:
                    process(block)
                except KeyboardInterrupt:  # it is for all
                    block.status = daisy.BlockStatus.FAILED
                    return
                except (Exception, SystemExit) as error:  # noqa: BLE001  # reported, and the block counts as failed
                    block.status = daisy.BlockStatus.FAILED
                    report(report_file(log_dir, block.block_id[1]), f"block {block.write_roi} failed", error)
                    if is_disk_full(error):
                        report_stop(log_dir, DISK_FULL, error)
                        return


def give_one_back() -> None:
    """Take a block and give it back as failed, in place of a worker that did not get to it, when all is to end.

    Daisy warns at length of each worker that ends without having asked for a block.
    """
    with suppress(OSError, RuntimeError), daisy.Client().acquire_block() as block:
        if block is not None:
            block.status = daisy.BlockStatus.FAILED


def main() -> None:
    """Do the job of the file that the environment names."""
    # The process has no other output than what is written into its log file.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    job = Job.from_json(Path(os.environ[JOB_VARIABLE]).read_text(encoding="utf-8"))
    try:
        Options.instance(**job.options)
        process = prepare(job)
    except Exception as error:
        report(Path(job.log_dir) / START_ERROR, f"the worker {job.worker_file} cannot start", error)
        raise
    if process is not None:
        process_blocks(process, job.log_dir)
