"""Write files atomically: a reader sees either the old content or the new.

A file is written under a temporary name in its folder, flushed to disk, and renamed. A killed process leaves at most a
hidden file that ends in ``.partial``, which no store reads.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from dacapo.errors import DacapoError, DamagedFileError, StorageError

_TEMPORARY_SUFFIX = ".partial"

# Errors of file systems that cannot flush a folder; there the rename is as durable as it gets.
_CANNOT_FLUSH_FOLDER = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF}


# Advice for a failed system call, by the names of its error numbers, not all of which exist on every system.
_ADVICE = {
    ("ENOSPC", "EDQUOT"): "free some space, or use another disk",
    ("EFBIG",): "raise the limit on file size (ulimit -f), or use another file system",
    ("EACCES", "EPERM"): "check the permissions of the file and its folders",
    ("EROFS",): "the file system is mounted read-only; use another folder",
    ("ENOENT", "ENOTDIR", "EISDIR", "EEXIST", "ENOTEMPTY", "ELOOP", "ENAMETOOLONG"): "check the path",
    ("EMFILE", "ENFILE"): "raise the limit on open files (ulimit -n)",
    ("EIO",): "the disk may be failing; check the system log",
    ("ESTALE", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENOTCONN"): "try again when the file server is reachable",
}
_ADVICE_BY_NUMBER = {
    getattr(errno, name): advice for names, advice in _ADVICE.items() for name in names if hasattr(errno, name)
}


def storage_error(action: str, path: Path, error: OSError) -> StorageError:
    """Return the error to raise for a failed system call, with the action, the path, the cause and advice."""
    advice = _ADVICE_BY_NUMBER.get(error.errno or 0)
    return StorageError(f"cannot {action} {path}: {error.strerror or error}" + (f"; {advice}" if advice else ""))


def system_error(action: str, path: Path, number: int) -> StorageError:
    """Return the same, given the number of the system's error."""
    return storage_error(action, path, OSError(number, os.strerror(number)))


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise a :class:`~dacapo.errors.StorageError` for any system call on a file that fails in a ``with`` block.

    Raises:
        StorageError: With the path, if the system names one, the cause and advice.
    """
    try:
        yield
    except (DacapoError, ConnectionError, TimeoutError):
        raise
    except shutil.Error as error:
        source, target, why = error.args[0][0]
        raise StorageError(f"cannot copy {source} to {target}: {why}") from error
    except OSError as error:
        if error.filename is None and error.errno not in _ADVICE_BY_NUMBER:
            raise
        raise storage_error("read or write", Path(error.filename or "a file"), error) from error


def make_folder(path: Path | str) -> Path:
    """Create a folder and its missing parents, and return its path.

    Raises:
        StorageError: If the folder cannot be created; the message names the path and the cause.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error("create the folder", path, error) from error
    return path


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path to write or link to, and rename it to ``path`` when the ``with`` block succeeds.

    Missing parent folders are created. After an exception the temporary file is removed and ``path`` is unchanged. A
    symlink at ``path`` is replaced, not followed.

    Args:
        path: The final path.

    Yields:
        A path in the same folder that does not exist yet.

    Raises:
        StorageError: If the file cannot be written; the message names the path and the cause.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_TEMPORARY_SUFFIX}")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error("write", path, error) from error
    finally:
        with suppress(OSError):  # it stays where nothing can be removed, which is what the error before says
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: Path | str) -> Iterator[BinaryIO]:
    """Open a binary file that is renamed to ``path`` when the ``with`` block succeeds.

    Raises:
        StorageError: As `atomic_path` does.
    """
    with atomic_path(path) as temporary, open(temporary, "xb") as file:
        yield file


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a whole file at once, atomically.

    Raises:
        StorageError: As `atomic_path` does.
    """
    with atomic_write(path) as file:
        file.write(content)


def write_text(path: Path | str, content: str) -> None:
    """Write a whole UTF-8 text file at once, atomically.

    Raises:
        StorageError: As `atomic_path` does.
    """
    write_bytes(path, content.encode("utf-8"))


def read_bytes(path: Path | str) -> bytes:
    """Return the content of a file.

    Raises:
        StorageError: If the file cannot be read; the message names the path and the cause.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise storage_error("read", Path(path), error) from error


def read_text(path: Path | str) -> str:
    """Return the content of a UTF-8 text file.

    Raises:
        StorageError: If the file cannot be read or is not UTF-8; the message names the path and the cause.
    """
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"cannot read {path}: it is not UTF-8 text ({error}); it may be damaged") from error


def status(path: Path | str) -> os.stat_result | None:
    """Return size, times and so on of a file, None if it does not exist.

    Raises:
        StorageError: If its folder cannot be read; the message names the path and the cause.
    """
    try:
        return Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise storage_error("read", Path(path), error) from error


def is_file(path: Path | str) -> bool:
    """Return whether a file exists.

    Raises:
        StorageError: If that cannot be told, for example without permissions; the message names the path and the cause.
    """
    found = status(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def is_folder(path: Path | str) -> bool:
    """Return whether a folder exists.

    Raises:
        StorageError: If that cannot be told; the message names the path and the cause.
    """
    found = status(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def paths_in(folder: Path | str) -> list[Path]:
    """Return the sorted paths of what is in a folder; none if it does not exist.

    Raises:
        StorageError: If it cannot be read, for example without permissions; the message names it and the cause.
    """
    try:
        return sorted(Path(folder).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise storage_error("read the folder", Path(folder), error) from error


def paths_named(folder: Path | str, pattern: str) -> list[Path]:
    """Return the sorted paths of what is in a folder and has a name like a pattern; none if it does not exist.

    Args:
        folder: The folder.
        pattern: As for the shell, such as ``block_*.npz``.

    Raises:
        StorageError: If it cannot be read, which ``Path.glob`` takes for an empty one.
    """
    return [path for path in paths_in(folder) if fnmatchcase(path.name, pattern)]


def files_below(folder: Path | str) -> Iterator[Path]:
    """Yield the paths of all files in a folder and the folders in it, sorted; none if it does not exist.

    Raises:
        StorageError: If a folder cannot be read; the message names it and the cause.
    """
    for path in paths_in(folder):
        if is_folder(path):
            yield from files_below(path)
        else:
            yield path


def remove_file(path: Path | str, missing_ok: bool = False) -> None:
    """Delete one file.

    Raises:
        StorageError: If the file cannot be deleted; the message names the path and the cause.
    """
    try:
        Path(path).unlink(missing_ok=missing_ok)
    except OSError as error:
        raise storage_error("remove", Path(path), error) from error


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """Hard-link a file, or copy it on file systems without hard links.

    For files that are replaced as a whole and never changed in place, so that the two names stay independent:
    checkpoints, and chunks of arrays.
    """
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def allocate(path: Path | str) -> None:
    """Take the space on disk that a file has by its size, before it is written through a memory map.

    On a full disk, a write through a memory map kills the process without an error. On systems that cannot take space
    ahead, do nothing.

    Raises:
        StorageError: If the disk has not enough space; the message names the path and the cause.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        with open(path, "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            if size:
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        raise storage_error("write", Path(path), error) from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(path: Path) -> None:
    """Make a rename in a folder survive a power failure, if the file system supports that."""
    try:
        _flush(path)
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH_FOLDER:
            raise
