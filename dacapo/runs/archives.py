"""Write and read archives of files, ``.tar.gz`` and ``.zip``, without trust in those that are read.

Nothing is ever extracted by the archive's own names: a reader hands out names, sizes and contents, and whoever reads
decides. Links, devices, folders, sparse and encrypted files are refused. Memory and time depend on what is asked for,
and not on what an archive declares.
"""

from __future__ import annotations

import gzip
import struct
import tarfile
import time
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_IFMT, S_IFREG
from typing import Any, BinaryIO, Protocol

from dacapo.errors import ConfigError, DacapoError, DamagedFileError, UnsafeFileError
from dacapo.store.files import storage_error

SUFFIXES = (".tar.gz", ".tgz", ".zip")
MOST_EXPANSION = 1032
"""The largest factor by which the compression of both kinds of archive can shorten a file."""

CHUNK = 2**20
_FREE_HEADER_BYTES = 2**20
_HEADER_BYTES = 8192  # of one file, with a long name
_LONGEST_SKIP = 2**16


class Source(Protocol):
    """Content that is read in chunks, empty at the end."""

    def read(self, size: int, /) -> bytes: ...


def kind_of(path: Path) -> str:
    """Return ``.zip`` or ``.tar.gz``, by the name of an archive.

    Raises:
        ConfigError: If the name ends in another way.
    """
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return ".zip" if suffix == ".zip" else ".tar.gz"
    raise ConfigError(f"cannot tell the kind of archive from {path.name!r}; end its name in {', '.join(SUFFIXES)}")


@contextmanager
def new_archive(file: BinaryIO, kind: str) -> Iterator[Callable[[str, int, Source], None]]:
    """Write an archive inside a ``with`` block.

    Args:
        file: An empty file.
        kind: See :func:`kind_of`.

    Yields:
        A function that adds a file, given its name, its size and its content, of which just so much is read.
    """
    if kind == ".zip":
        with zipfile.ZipFile(file, "w") as archive:
            yield lambda name, size, content: _add_to_zip(archive, name, size, content)
    else:
        with (
            gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as compressed,
            tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            yield lambda name, size, content: _add_to_tar(tar, name, size, content)


def _add_to_zip(archive: zipfile.ZipFile, name: str, size: int, content: Source) -> None:
    info = zipfile.ZipInfo(name, time.localtime()[:6])
    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, (S_IFREG | 0o644) << 16
    with archive.open(info, "w", force_zip64=size >= 2**31) as target:
        while chunk := content.read(min(CHUNK, size)):
            target.write(chunk)
            size -= len(chunk)


def _add_to_tar(tar: tarfile.TarFile, name: str, size: int, content: Source) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, int(time.time()), 0o644
    tar.addfile(info, content)  # type: ignore[arg-type]


class Archive(ABC):
    """The files of an archive, one after another.

    Attributes:
        path: The archive.
    """

    def __init__(self, path: Path) -> None:
        """Read from an archive."""
        self.path = path

    @abstractmethod
    def files(self) -> Iterator[tuple[str, int, Source]]:
        """Yield name, size and content of each file; the content is to be read before the next one is asked for.

        Raises:
            UnsafeFileError: If an entry is anything but a plain file.
        """

    def expect(self, count: int) -> None:  # noqa: B027 - not every kind limits its headers
        """Allow for the headers of this number of files; by default any number is allowed."""

    def _refuse(self, name: str, what: str) -> UnsafeFileError:
        return UnsafeFileError(f"{self.path} holds {what}, {name[:200]!r}, which no export writes; it is not imported")


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Read an archive inside a ``with`` block.

    Raises:
        ConfigError: If its name does not tell its kind.
        DamagedFileError: In the whole block, if the archive is damaged or cut off.
        StorageError: If it cannot be read.
    """
    kind = kind_of(path)
    try:
        if kind == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield _Zip(path, archive)
        else:
            with gzip.open(path, "rb") as compressed:
                yield _Tar(path, _Forward(compressed))
    except DacapoError:
        raise
    except (
        *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, struct.error),
        # A damaged header can claim anything: a version, a name that is no text, a number of any size.
        *(NotImplementedError, RecursionError, OverflowError, UnicodeError),
    ) as error:
        raise DamagedFileError(
            f"{path} is damaged or cut off ({type(error).__name__}: {error}); copy or export it again"
        ) from error
    except OSError as error:
        raise storage_error("read", path, error) from error


class _Zip(Archive):
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        super().__init__(path)
        self._archive = archive

    def files(self) -> Iterator[tuple[str, int, Source]]:
        for info in self._archive.infolist():
            if S_IFMT(info.external_attr >> 16) not in (0, S_IFREG) or info.filename.endswith("/"):
                raise self._refuse(info.filename, "a link, device or folder")
            # Other kinds of compression take as much memory as the archive likes.
            if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self._refuse(info.filename, "an encrypted or unusually compressed file")
            with self._archive.open(info) as content:
                yield info.filename, info.file_size, content


class _Tar(Archive):
    def __init__(self, path: Path, forward: _Forward) -> None:
        super().__init__(path)
        self._forward = forward

    def expect(self, count: int) -> None:
        self._forward.header_bytes += count * _HEADER_BYTES

    def files(self) -> Iterator[tuple[str, int, Source]]:
        stream: Any = self._forward
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            while (info := tar.next()) is not None:
                if not info.isreg() or info.issparse():
                    raise self._refuse(info.name, "a link, device or folder")
                yield info.name, info.size, self._forward.content(info.size)
        self._forward.finish()


class _Forward:
    """The uncompressed content of a tar archive, which can only be read forward, and no headers of any length."""

    def __init__(self, file: Any) -> None:
        self._file, self._position = file, 0
        self.header_bytes = _FREE_HEADER_BYTES

    def tell(self) -> int:
        """Return the position in the file."""
        return self._position

    def seek(self, position: int) -> int:
        """Go forward a little, over what fills up a block."""
        if not 0 <= position - self._position <= _LONGEST_SKIP:
            raise tarfile.ReadError("an entry does not follow the one before it")
        self._position += len(self._file.read(position - self._position))
        return self._position

    def read(self, size: int) -> bytes:
        """Read a header."""
        self.header_bytes -= max(size, 0)
        if size < 0 or self.header_bytes < 0:
            raise tarfile.ReadError("headers are too long")
        data: bytes = self._file.read(size)
        self._position += len(data)
        return data

    def content(self, size: int) -> _Content:
        """Return the content that begins here."""
        return _Content(self, size)

    def read_content(self, size: int) -> bytes:
        """Read some content."""
        data: bytes = self._file.read(size)
        self._position += len(data)
        return data

    def finish(self) -> None:
        """Read the end, for the checksum that follows it."""
        if len(self._file.read(_LONGEST_SKIP)) == _LONGEST_SKIP:
            raise tarfile.ReadError("it goes on after its end")


class _Content:
    def __init__(self, forward: _Forward, size: int) -> None:
        self._forward, self._left = forward, size

    def read(self, size: int) -> bytes:
        data = self._forward.read_content(min(size, self._left))
        self._left -= len(data)
        return data
