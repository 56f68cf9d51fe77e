"""A lock on a folder against other processes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dacapo.errors import BlockwiseError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder; on a file system without locks, do nothing.

    Raises:
        BlockwiseError: If another process holds the lock.
    """
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise BlockwiseError(
                    f"another process works on this output; wait for it or end it ({folder} is locked)"
                ) from error
        yield
    finally:
        os.close(handle)
