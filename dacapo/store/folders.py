"""Write folders atomically: a reader sees either the old content or the new.

:mod:`dacapo.store.files` does so for files. A folder is written as ``.<name>.new`` beside its place. Then the two
exchange their names, in one step, and the old one is deleted. File systems that cannot exchange names, such as NFS,
need two steps. A process that is killed between them leaves the old folder as ``.<name>.old``, from which
:func:`recover_folder` restores it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .files import is_folder, make_folder, status, storage_error, system_error

_CANNOT_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV}
_AT_FDCWD = -100
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux, and RENAME_SWAP of macOS


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Give the path of a folder to make, which takes the place of ``path`` when the ``with`` block succeeds.

    Missing parent folders are created. After an exception ``path`` is unchanged.

    Args:
        path: The folder to write or to replace.

    Yields:
        A path beside it that does not exist yet.

    Raises:
        StorageError: If the folder cannot be written; the message names the path and the cause.
    """
    path = Path(path)
    new = _beside(path, "new")
    make_folder(path.parent)
    found = status(path)
    if found is not None and not stat.S_ISDIR(found.st_mode):
        raise storage_error("write the folder", path, NotADirectoryError(errno.ENOTDIR, "it is a file"))
    try:
        remove_folder(new)
        yield new
        _put_in_place(new, path)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)  # it stays where nothing can be removed, until the next call
        raise


def recover_folder(path: Path | str) -> None:
    """Restore a folder that a killed process was about to replace; do nothing if it exists.

    Raises:
        StorageError: If that fails; the message names the path and the cause.
    """
    path = Path(path)
    old = _beside(path, "old")
    if status(path) is None and status(old) is not None:
        _rename(old, path)


def remove_folder(path: Path | str) -> None:
    """Delete a folder, if it exists, and everything in it.

    Raises:
        StorageError: If something cannot be deleted; the message names the path and the cause.
    """
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error("remove", Path(error.filename or path), error) from error


def _put_in_place(new: Path, path: Path) -> None:
    if status(path) is not None and exchange(new, path):
        remove_folder(new)
        remove_folder(_beside(path, "old"))
    else:
        rename_over(new, path)


def rename_over(new: Path, path: Path) -> None:
    """Rename a file or folder to ``path``, in place of an older one, which is deleted.

    A process that is killed on the way leaves either the new one under its old name, or ``path`` complete.

    Raises:
        StorageError: If that fails; the message names the path and the cause.
    """
    old = _beside(path, "old")
    if is_folder(path):
        remove_folder(old)
        _rename(path, old)
    try:
        _rename(new, path)
    except BaseException:
        recover_folder(path)
        raise
    remove_folder(old)


def exchange(first: Path, second: Path) -> bool:
    """Exchange the names of two files or folders in one step; return False if the system cannot.

    Raises:
        StorageError: If it can, but fails.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(first), os.fsencode(second)
    if hasattr(libc, "renameat2"):
        failed = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE)
    elif hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(*names, _EXCHANGE)
    else:
        return False
    number = ctypes.get_errno()
    if failed and number not in _CANNOT_EXCHANGE:
        raise system_error("replace", second, number)
    return not failed


def _rename(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        raise storage_error("write", target, error) from error


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}")
