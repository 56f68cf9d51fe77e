"""Paths of users: those that begin with ``~``, and URLs in place of paths.

A URL may stand wherever a path does. ``pathlib`` shortens its double slash, so ``s3://bucket/a`` becomes the path
``s3:/bucket/a``; both are the same place.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dacapo.errors import ConfigError

_URL = re.compile(r"(s3|gs|https?|memory):/+(.*)", re.DOTALL)


def user_path(path: Any) -> Path:
    """Return a path with ``~`` expanded.

    Args:
        path: Text, a path, or a ``UPath`` of the package ``universal_pathlib`` for a file or a URL.

    Raises:
        ConfigError: If the ``UPath`` carries options, such as credentials, which come from the environment only.
    """
    if is_upath(path):
        return _path_of(path)
    return Path(path).expanduser()


def is_upath(path: Any) -> bool:
    """Return whether a path is one of ``universal_pathlib``, which need not be installed for that."""
    return hasattr(path, "protocol") and hasattr(path, "storage_options")


def _path_of(path: Any) -> Path:
    """Return a path of ``universal_pathlib``; the system takes a URL for a local path, or does not know it at all."""
    if path.protocol in ("", "file", "local"):
        return Path(path.path).expanduser()
    if path.storage_options:
        raise ConfigError(
            f"{path} carries the options {', '.join(path.storage_options)}; set credentials and the like in the "
            "environment, and give the path without options"
        )
    if not is_url(str(path)):
        raise ConfigError(f"{path} is at {path.protocol}://; expected a file or a URL of s3, gs, http, https or memory")
    return Path(str(path))


def url_parts(path: Path | str) -> tuple[str, str] | None:
    """Return scheme and remainder of a URL, None for the path of a file.

    >>> url_parts("s3://bucket/a"), url_parts(Path("s3://bucket/a")), url_parts("/data/a")
    (('s3', 'bucket/a'), ('s3', 'bucket/a'), None)
    """
    match = _URL.fullmatch(str(path))
    return None if match is None else (match.group(1), match.group(2))


def is_url(path: Path | str) -> bool:
    """Return whether a path is a URL."""
    return url_parts(path) is not None


def shown(path: Path | str) -> str:
    """Return a path as text; a URL with both slashes.

    >>> shown(Path("s3://bucket/a")), shown(Path("/data/a"))
    ('s3://bucket/a', '/data/a')
    """
    parts = url_parts(path)
    return str(path) if parts is None else f"{parts[0]}://{parts[1]}"


def resolved(path: Path) -> str:
    """Return the text that identifies a place: a path without links, or a URL."""
    return shown(path) if is_url(path) else str(path.resolve())
