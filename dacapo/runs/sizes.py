"""Sizes of what is stored of a run."""

from __future__ import annotations

import os
from pathlib import Path

from dacapo.store.files import storage_error


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; links are not followed.

    A file with several names, as the best checkpoints have, counts once.

    Raises:
        StorageError: If a folder cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    total = 0
    try:
        waiting = [path]
        while waiting:
            current = waiting.pop()
            status = current.lstat()
            if current.is_dir() and not current.is_symlink():
                waiting += [Path(entry) for entry in os.scandir(current)]
            elif (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
    except OSError as error:
        raise storage_error("read", path, error) from error
    return total
