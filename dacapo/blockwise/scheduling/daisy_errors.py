"""Errors of Daisy as errors of this package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dacapo.errors import BlockwiseError
from dacapo.store.files import system_error

_IO_ERROR = re.compile(r"io error .*? at (?P<path>.+): .*\(os error (?P<number>\d+)\)$")


@contextmanager
def daisy_errors() -> Iterator[None]:
    """Raise errors of this package where Daisy cannot go on.

    Raises:
        StorageError: If it cannot read or write its markers of done blocks; the message names the path and the cause.
        BlockwiseError: If it panics, for example after a message for a task that it does not have.
    """
    try:
        yield
    except RuntimeError as error:
        found = _IO_ERROR.search(str(error))
        if found is None:
            raise
        raise system_error("write", Path(found["path"]), int(found["number"])) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of Rust; it has no public name
            raise
        raise BlockwiseError(
            f"Daisy cannot go on handing out blocks ({error}); a program that is no worker of this operation may have "
            "connected to its port. The same call does the blocks that are missing"
        ) from error
