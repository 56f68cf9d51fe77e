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
    """Return the class of an object with its public attributes, as far as they are set and plain; long ones are cut.

    >>> from fractions import Fraction
    >>> from types import SimpleNamespace
    >>> plain_repr(SimpleNamespace(level=Fraction(1, 2), names=list("abcdefgh"), mask=None, _cache={}))
    "SimpleNamespace(level=Fraction(1, 2), names=['a', 'b', 'c', 'd', 'e', 'f', ...])"
    """
    facts = (f"{name}={_SHORT.repr(value)}" for name, value in vars(shown).items() if name[0] != "_" and _plain(value))
    return f"{type(shown).__name__}({', '.join(facts)})"


def _plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    if isinstance(value, dict):
        return all(map(_plain, [*value, *value.values()]))
    return isinstance(value, str | bool | Number | Enum)
