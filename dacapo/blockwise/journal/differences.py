"""Comparing the parameters of a call with those of earlier work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dacapo.utils.paths import shown

_LISTED = 5


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Return a text for each value that differs between two nested dicts.

    >>> differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
    ['a.b was 1, is 3']
    """
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            text
            for key in {**before, **now}
            for text in differences(before.get(key), now.get(key), f"{name}.{key}".removeprefix("."))
        ]
    return [] if before == now else [f"{name} was {_short(before)}, is {_short(now)}"]


def why_kept(path: Path, changed: list[str]) -> str:
    """Return the message for an output or folder that must be kept.

    Args:
        path: The output or folder.
        changed: The differences between the earlier parameters and those of the call.
    """
    if not changed:
        return f"{shown(path)} exists already; name another output or allow overwriting"
    more = f" and {len(changed) - _LISTED} more" if len(changed) > _LISTED else ""
    return (
        f"{shown(path)} was started with other parameters, so it cannot be resumed: {'; '.join(changed[:_LISTED])}"
        f"{more}; repeat the earlier call, name another place, or allow overwriting (or delete it) to start over"
    )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
