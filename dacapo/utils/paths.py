"""Paths of users: those that begin with ``~``, and URLs in place of paths.

A URL may stand wherever a path does. ``pathlib`` shortens its double slash, so ``s3://bucket/a`` becomes the path
``s3:/bucket/a``; both are the same place.
"""

from __future__ import annotations

import re
from pathlib import Path

_URL = re.compile(r"(s3|gs|https?|memory):/+(.*)", re.DOTALL)


def user_path(path: Path | str) -> Path:
    """Return a path with ``~`` expanded."""
    return Path(path).expanduser()


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
