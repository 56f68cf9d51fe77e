"""Seeds derived from names only, so that a run draws the same numbers wherever and whenever it resumes."""

from __future__ import annotations

import hashlib


def seed_from(*parts: object) -> int:
    """Return a seed below 2**32 that depends on all parts and their order.

    Python's ``hash`` of strings differs between processes, so it is not suitable.
    """
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "little")
