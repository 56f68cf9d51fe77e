"""Writing at URLs: small files, and which URLs can be written at all.

Those of Amazon S3 and servers like it, and of Google Cloud Storage. A file appears when it is whole. A change of a file
is made again from what is there if another process was faster, as far as the server tells.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dacapo.errors import ConfigError, StorageError
from dacapo.utils.paths import shown, url_parts

from .remote import TIMEOUT, cause, kvstore_spec, open_context

WRITABLE_SCHEMES = ("s3", "gs")
_MISSED = b""
_ATTEMPTS = 20


def is_writable_place(path: Path) -> bool:
    """Return whether a path is on a disk, or at a URL that can be written."""
    parts = url_parts(path)
    return parts is None or parts[0] in WRITABLE_SCHEMES


def check_writable_place(path: Path) -> None:
    """Raise an error for a URL that cannot be written.

    Raises:
        ConfigError: If its scheme is neither of S3 nor of Google Cloud Storage.
    """
    if not is_writable_place(path):
        raise ConfigError(
            f"cannot write to {shown(path)}; give a folder of this machine, or a URL that begins with "
            f"{' or '.join(f'{scheme}://' for scheme in WRITABLE_SCHEMES)}"
        )


def change_remote(path: Path, change: Callable[[bytes | None], bytes | None]) -> None:
    """Change a small file at a URL.

    Args:
        path: The file.
        change: Takes the content, None if there is none, and returns the new one, None for no change.

    Raises:
        ConfigError: If the URL cannot be written.
        StorageError: If the server refuses or cannot be reached; the message names URL and cause.
    """
    check_writable_place(path)
    try:
        store = _store(path.parent)
        seen = None
        for _ in range(_ATTEMPTS):
            found = store.read(path.name).result(TIMEOUT)
            before = bytes(found.value) if found.state == "value" else None
            after = change(before)
            if after is None or after == before:
                return
            # Unchanged, although the condition failed: without a condition the server says why it refuses.
            condition = {} if seen == found.stamp.generation else {"if_equal": found.stamp.generation}
            if store.write(path.name, after, **condition).result(TIMEOUT).generation != _MISSED:
                return
            seen = found.stamp.generation
    except Exception as error:
        raise StorageError(f"cannot write {shown(path)}: {cause(error)}") from error
    raise StorageError(f"cannot write {shown(path)}: other processes change it all the time")


def _store(folder: Path) -> Any:
    import tensorstore

    return tensorstore.KvStore.open(kvstore_spec(folder), context=open_context()).result(TIMEOUT)
