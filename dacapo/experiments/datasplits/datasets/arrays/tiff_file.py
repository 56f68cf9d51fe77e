"""Open TIFF files of unknown origin."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dacapo.errors import DacapoError, StorageError
from dacapo.utils.paths import is_url, shown

from .remote_file import readable

# tifffile takes more tags of a page for damage, and ends the chain of pages there.
_MOST_TAGS = 4096

# Versions of files whose pages come to an end; all are forgotten when they are this many.
_checked: set[tuple[int, ...]] = set()
_MOST_CHECKED = 1024


@contextmanager
def opened_tiff(path: Path) -> Iterator[Any]:
    """Open a TIFF file with tifffile.

    Raises:
        StorageError: If it cannot be read, or its pages form a circle.
    """
    import tifffile

    try:
        with tifffile.TiffFile(readable(path)) as file:
            _check_once(file, path)
            yield file
    except DacapoError:
        raise
    except (OSError, ValueError, IndexError, tifffile.TiffFileError) as error:
        raise StorageError(f"cannot read {shown(path)} as TIFF: {error}") from error


def _check_once(file: Any, path: Path) -> None:
    """Check the chain of pages, on a disk only if this version of the file was not checked before."""
    if is_url(path):
        _check_chain(file)
        return
    found = os.fstat(file.filehandle.fileno())
    version = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    if version not in _checked:
        _check_chain(file)
        if len(_checked) >= _MOST_CHECKED:
            _checked.clear()
        _checked.add(version)


def _check_chain(file: Any) -> None:
    """Check that the pages of a TIFF file come to an end; each one names the place of the next.

    tifffile follows a circle without end, unless it counts all pages at once and the circle closes within the first
    hundred.

    Raises:
        TiffFileError: If a page leads back to an earlier one.
    """
    import tifffile

    layout, stream = file.tiff, file.filehandle
    place, seen = file.pages.first.offset, set[int]()
    while 0 < place < stream.size:
        if place in seen:
            raise tifffile.TiffFileError(f"its {len(seen)} pages form a circle: one leads back to the page at {place}")
        seen.add(place)
        stream.seek(place)
        count = _number(layout.tagnoformat, stream.read(layout.tagnosize))
        if count is None or count > _MOST_TAGS:
            return
        stream.seek(place + layout.tagnosize + count * layout.tagsize)
        place = _number(layout.offsetformat, stream.read(layout.offsetsize)) or 0


def _number(layout: str, text: bytes) -> int | None:
    """Return a number that is stored in a layout of :mod:`struct`; None if the file ends before it does."""
    return int(struct.unpack(layout, text)[0]) if len(text) == struct.calcsize(layout) else None
