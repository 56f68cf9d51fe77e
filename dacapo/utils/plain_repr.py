"""Short texts of objects, for a prompt and for messages."""

from __future__ import annotations

import reprlib
from enum import Enum
from numbers import Number
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 6
_SHORT.maxstring = _SHORT.maxother = 60


def plain_repr(shown: Any) -> str:
    """Return the class of an object with those of its public attributes that are plain values and set, long ones shortened.

    >>> class Threshold:
    ...     def __init__(self) -> None:
    ...         self.level, self.names, self._cache = 0.5, list("abcdefgh"), {}
    >>> plain_repr(Threshold())
    "Threshold(level=0.5, names=['a', 'b', 'c', 'd', 'e', 'f', ...])"
    """
    facts = (f"{name}={_SHORT.repr(value)}" for name, value in vars(shown).items() if name[0] != "_" and _plain(value))
    return f"{type(shown).__name__}({', '.join(facts)})"


def _plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    if isinstance(value, dict):
        return all(map(_plain, [*value, *value.values()]))
    return isinstance(value, str | bool | Number | Enum)
