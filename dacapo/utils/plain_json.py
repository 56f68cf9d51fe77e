"""Reading JSON of unknown origin."""

from __future__ import annotations

import json
import math
from typing import Any

MOST_LEVELS = 100
MOST_BYTES = 256 * 2**20


def parse_json(text: str | bytes) -> Any:
    """Return the values that JSON text holds.

    Args:
        text: The JSON; bytes are UTF-8.

    Raises:
        ValueError: If the text is not JSON, is longer than ``MOST_BYTES``, or is nested in more than ``MOST_LEVELS``
            levels, which would take all the stack of those who read or write the values.

    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
        ...
    ValueError: values are nested in more than 100 levels
    """
    check_length(len(text))
    try:
        values = json.loads(text)
    except RecursionError:
        raise _too_deep() from None
    brackets = (b"[", b"{") if isinstance(text, bytes) else ("[", "{")
    if sum(map(text.count, brackets)) > MOST_LEVELS:  # type: ignore[arg-type]
        _check_levels(values)
    return values


def check_length(length: int) -> None:
    """Check the length of a text before it is read.

    Raises:
        ValueError: If it is longer than ``MOST_BYTES``.
    """
    if length > MOST_BYTES:
        raise ValueError(f"{length} bytes are more than the {MOST_BYTES} that are read")


def _check_levels(values: Any) -> None:
    """Count the levels without recursion, one after another."""
    level = [values]
    for _ in range(MOST_LEVELS):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    if any(isinstance(value, dict | list) for value in level):
        raise _too_deep()


def _too_deep() -> ValueError:
    return ValueError(f"values are nested in more than {MOST_LEVELS} levels")


def without_nan(values: Any) -> Any:
    """Return values with None in place of NaN and infinities, which JSON of other programs does not know.

    >>> without_nan({"voi": [0.5, float("nan")]})
    {'voi': [0.5, None]}
    """
    if isinstance(values, dict):
        return {name: without_nan(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [without_nan(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
