"""A lock on a run, so that no two processes train or change it at the same time.

It is a lock of the operating system on the file ``<runs_base_dir>/<run>/training.lock``, which is released when the
process ends, however it ends. The file says who holds it. The lock belongs to the process and not to an open file, so
that processes that make batches, which are forked from it, do not keep it when it is killed.
"""

from __future__ import annotations

import errno
import fcntl
import getpass
import json
import logging
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import attrs

from dacapo.errors import RunInUseError
from dacapo.options import DaCapoConfig
from dacapo.store.files import is_folder, make_folder, storage_error
from dacapo.store.run_folder import run_folder
from dacapo.utils import distributed
from dacapo.utils.plain_json import parse_json

# The layout of the system's record of a lock: type, whence, start, length, process; see fcntl.h.
_RECORD, _TYPE = ("@qqihh", 3) if sys.platform == "darwin" else ("@hhqqi0q", 0)

logger = logging.getLogger(__name__)

FILE = "training.lock"
_LONGEST = 4096  # bytes of its content that are read

_TAKEN = {errno.EACCES, errno.EAGAIN}
_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}

# The locks of this process, which the system would grant it once more; a forked process has none of its parent.
_held: dict[Path, int] = {}
_changing = threading.Lock()


@attrs.frozen
class Holder:
    """The process that holds the lock of a run.

    Attributes:
        use: The work that it locked the run for: ``trained``, ``validated``, ``changed``, and so on.
        pid: Number of the process, None if it has not said who it is yet.
        user: Its user.
        host: Its machine.
        since: When it took the lock.
    """

    use: str = "trained"
    pid: int | None = None
    user: str = ""
    host: str = ""
    since: str = ""

    @classmethod
    def read(cls, content: bytes) -> Holder:
        """Return the process that the content of a lock's file names."""
        try:
            known = parse_json(content)
            # Earlier versions wrote no use.
            return cls(str(known.get("use", "trained")), *(known[name] for name in ("pid", "user", "host", "since")))
        except (ValueError, KeyError, AttributeError):  # it is about to write who it is
            return cls()

    def __str__(self) -> str:
        if self.pid is None:
            return "another process"
        return f"process {self.pid} of {self.user} on {self.host} since {self.since}"


def holder_of(run_name: str, options: DaCapoConfig | None = None) -> Holder | None:
    """Return the process that holds the lock of a run, None if it is free; the lock itself is left alone.

    Args:
        run_name: Name of the run.
        options: Name the folder of runs; by default those in use.

    Raises:
        StorageError: If the file of the lock cannot be read.
    """
    path = run_folder(run_name, options).resolve() / FILE
    with _changing:
        # Before the file is opened, since closing it again would release the lock.
        if _held.get(path) == os.getpid():
            return Holder.read(path.read_bytes())
        try:
            handle = os.open(path, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise storage_error("read", path, error) from error
        try:
            return Holder.read(os.pread(handle, _LONGEST, 0)) if _is_locked(handle) else None
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return None
            raise storage_error("read the lock", path, error) from error
        finally:
            os.close(handle)


def _is_locked(handle: int) -> bool:
    """Ask the system whether another process holds the lock of an open file."""
    fields = [0] * 5  # all of the file, counted from its beginning
    fields[_TYPE] = fcntl.F_WRLCK
    answer = fcntl.fcntl(handle, fcntl.F_GETLK, struct.pack(_RECORD, *fields))
    return bool(struct.unpack(_RECORD, answer)[_TYPE] != fcntl.F_UNLCK)


@contextmanager
def training_lock(run_name: str, options: DaCapoConfig | None = None, use: str = "trained") -> Iterator[None]:
    """Lock a run inside a ``with`` block; the lock of a process that has ended does not count.

    On a file system without locks, a warning says so, and nothing is locked. Of several ranks that train together, only
    rank 0 locks, which is the one that writes.

    Args:
        run_name: Name of the run.
        options: Name the folder of runs; by default those in use.
        use: The work that the run is locked for, as in "it is being trained".

    Raises:
        RunInUseError: If other work holds it; the message says which process, and since when.
        StorageError: If the file cannot be written.
    """
    if not distributed.is_main():
        yield
        return
    folder = run_folder(run_name, options).resolve()
    is_new = not is_folder(folder)
    path = make_folder(folder) / FILE
    handle = None
    try:
        with _changing:
            handle = _acquire(run_name, path, use)
        yield
    finally:
        if handle is not None:
            with _changing:
                del _held[path]
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    # It counts no longer, so whatever the work ended with is more important.
                    logger.warning("%s cannot be removed: %s; it locks nothing", path, error.strerror)
                os.close(handle)
        if is_new:
            with suppress(OSError):  # it holds files now, as a rule
                folder.rmdir()


def _acquire(run_name: str, path: Path, use: str) -> int | None:
    """Return the open file with the lock; None if there are no locks."""
    # Before the file is opened, since closing it again would release the lock.
    if _held.get(path) == os.getpid():
        raise _in_use(run_name, path.read_bytes())
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise storage_error("write", path, error) from error
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(handle, _LONGEST, 0)
            os.close(handle)
            if error.errno in _TAKEN:
                raise _in_use(run_name, holder) from error
            if error.errno not in _UNSUPPORTED:
                raise storage_error("lock", path, error) from error
            logger.warning(
                "the file system of %s has no locks (%s): make sure that no other process trains or changes run %r",
                path.parent,
                error.strerror,
                run_name,
            )
            path.unlink(missing_ok=True)
            return None
        if _is_at(handle, path):
            try:
                os.truncate(handle, 0)
                os.pwrite(handle, json.dumps({**_this_process(), "use": use}).encode(), 0)
            except OSError as error:
                os.close(handle)
                raise storage_error("write", path, error) from error
            _held[path] = os.getpid()
            return handle
        os.close(handle)  # its holder has just ended, and removed the file


def _is_at(handle: int, path: Path) -> bool:
    """Return whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _this_process() -> dict[str, str | int]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        user = str(os.getuid())
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return {"pid": os.getpid(), "user": user, "host": socket.gethostname(), "since": since}


def _in_use(run_name: str, holder: bytes) -> RunInUseError:
    known = Holder.read(holder)
    return RunInUseError(f"run {run_name!r} is being {known.use} by {known}; wait for it, or end it")
