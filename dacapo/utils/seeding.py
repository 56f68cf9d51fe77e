"""Seeds that depend on names only, so that a run draws the same numbers wherever and whenever it goes on."""

from __future__ import annotations

import hashlib


def seed_from(*parts: object) -> int:
    """Return a seed below 2**32 that depends on all parts and on their order.

    Python's own ``hash`` of strings changes from process to process, so it cannot serve here.
    """
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "little")
