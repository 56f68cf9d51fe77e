"""What can befall work while it writes: it is killed, or the folder that it writes to, or the clock, changes.

All causes are real ones of the kernel, but for the clock, which `libfaketime` turns back for this process and those
that it starts; turning back that of the machine would befall all others on it. They need the rights of root.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .children import Child

CLOCK = "FAKETIME_TIMESTAMP_FILE"
_LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
_FAKETIME = {"LD_PRELOAD": str(_LIBRARY), "FAKETIME_NO_CACHE": "1", "NO_FAKE_STAT": "1", "DONT_FAKE_MONOTONIC": "1"}
_HOUR = 3600
_PR_CAPBSET_DROP = 24
_CAPABILITIES_VERSION = 0x20080522
_OVERRIDES = (1, 2)  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by which permissions do not bind root
_FILE_SYSTEM_SIZE = "32m"


class Cause(ABC):
    """Something that befalls work."""

    name: str
    ends_work = False
    """Whether it ends the process at once."""
    is_error = True
    """Whether the work cannot go on and has to say so, with an error of the package."""
    is_readable = True
    """Whether what is saved can be opened before the cause is gone."""

    @contextmanager
    def place(self, folder: Path) -> Iterator[None]:
        """Make the folder in which the work is done."""
        folder.mkdir()
        yield

    def limit_child(self) -> None:  # noqa: B027  # most need nothing
        """Prepare the process of the work, in it, before it begins."""

    @abstractmethod
    def begin(self, child: Child, folder: Path, dice: random.Random) -> None:
        """Let it happen."""

    def end(self, folder: Path) -> None:  # noqa: B027  # most need nothing
        """Remove the cause."""


class Kill(Cause):
    """The process ends without a chance to do anything more."""

    name = "kill"
    ends_work = True
    is_error = False

    def begin(self, child: Child, folder: Path, dice: random.Random) -> None:
        os.kill(child.pid, signal.SIGKILL)


class _OwnFileSystem(Cause):
    """Befalls a file system of its own, in memory."""

    @contextmanager
    def place(self, folder: Path) -> Iterator[None]:
        folder.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={_FILE_SYSTEM_SIZE}", "tmpfs", folder)
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


class FullDisk(_OwnFileSystem):
    """Something else fills the disk, up to a few kilobytes (ENOSPC)."""

    name = "full disk"

    def begin(self, child: Child, folder: Path, dice: random.Random) -> None:
        left = dice.choice((0, 0, 4096, 16384, 65536))
        with open(self._filler(folder), "wb", buffering=0) as file:
            # Meanwhile the work writes, too.
            for size in (1 << 20, 4096):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
            file.truncate(max(0, file.tell() - left))

    def end(self, folder: Path) -> None:
        self._filler(folder).unlink()

    def _filler(self, folder: Path) -> Path:
        return folder / ".filler"


class ReadOnly(_OwnFileSystem):
    """The file system is mounted anew, read-only (EROFS), between two writes, since the kernel refuses it in one."""

    name = "read-only folder"

    def begin(self, child: Child, folder: Path, dice: random.Random) -> None:
        end = time.monotonic() + 10
        while subprocess.run(["mount", "-o", "remount,ro", folder], capture_output=True).returncode:
            if time.monotonic() > end:
                raise TimeoutError(f"{folder} is written all the time")

    def end(self, folder: Path) -> None:
        _mount("-o", "remount,rw", folder)


class LostPermissions(Cause):
    """All permissions of all folders are gone (EACCES).

    The work runs without the capabilities by which root ignores permissions, which binds it like any other user.
    """

    name = "lost permissions"
    is_readable = False

    def limit_child(self) -> None:
        drop_overrides()

    def begin(self, child: Child, folder: Path, dice: random.Random) -> None:
        for place in _folders(folder):
            place.chmod(0)

    def end(self, folder: Path) -> None:
        for place in _folders(folder):
            place.chmod(0o755)


class ClockBack(Cause):
    """The clock is set back by hours or days, so that all files are from the future."""

    name = "clock set back"
    is_error = False

    def begin(self, child: Child, folder: Path, dice: random.Random) -> None:
        back = dice.choice((1, 30, 400)) * _HOUR
        for place, _, files in os.walk(folder):
            for path in [place, *(os.path.join(place, name) for name in files)]:
                try:
                    status = os.lstat(path)
                    os.utime(path, (status.st_atime + back, status.st_mtime + back), follow_symlinks=False)
                except FileNotFoundError:
                    continue  # it was a temporary file
        file = Path(os.environ[CLOCK])
        file.write_text(f"{float(file.read_text()) - back:+.0f}")


CAUSES: dict[str, type[Cause]] = {cause.name: cause for cause in (Kill, FullDisk, ReadOnly, LostPermissions, ClockBack)}


def start_with_own_clock() -> None:
    """Start this program again such that :class:`ClockBack` can set its clock, unless it was.

    Raises:
        FileNotFoundError: If libfaketime is not installed.
    """
    if CLOCK in os.environ:
        return
    if not _LIBRARY.exists():
        raise FileNotFoundError(f"setting the clock needs {_LIBRARY}; apt-get install faketime")
    handle, file = tempfile.mkstemp(prefix="clock_")
    os.write(handle, b"+0")
    os.close(handle)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **_FAKETIME, CLOCK: file})


def drop_overrides() -> None:
    """Let permissions of files bind this process, and those that it starts, although it is root's."""
    libc = ctypes.CDLL(None, use_errno=True)
    for number in _OVERRIDES:
        _check(libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0))
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, of the lower and the upper capabilities
    _check(libc.capget(header, sets))
    for number in _OVERRIDES:
        for index in range(3):
            sets[index] &= ~(1 << number)
    _check(libc.capset(header, sets))


def _folders(folder: Path) -> list[Path]:
    return [Path(place) for place, _, _ in os.walk(folder)]


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)
