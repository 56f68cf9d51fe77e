"""Arrays in files that TensorStore writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dacapo.store.files import system_error

_SYSTEM_ERROR = re.compile(r"\[os_error_code='(\d+)'\]")


def open_files(driver: str, folder: Path, spec: dict[str, Any], **options: Any) -> Any:
    """Create or open an array in a folder.

    Args:
        driver: Name of TensorStore's driver for the format.
        folder: The folder.
        spec: What else TensorStore needs to know.
        **options: Those of ``tensorstore.open``.

    Raises:
        StorageError: If a system call fails; the message names the folder and the cause.
    """
    import tensorstore

    place = {"driver": driver, "kvstore": {"driver": "file", "path": f"{folder.resolve()}/"}}
    with _system_errors(folder):
        return tensorstore.open({**place, **spec}, **options).result()


def write_files(folder: Path, array: Any, values: Any) -> None:
    """Write values to all of an array that :func:`open_files` opened, or to a part of it.

    Raises:
        StorageError: If a system call fails; the message names the folder and the cause.
    """
    with _system_errors(folder):
        array.write(values).result()


@contextmanager
def _system_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        found = _SYSTEM_ERROR.search(str(error))
        if found is None:
            raise
        raise system_error("write", folder, int(found[1])) from error
