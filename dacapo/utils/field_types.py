"""Check the types of the fields of a config, or of any attrs class."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Union, get_args, get_origin

import attrs

NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    str: "text",
    type(None): "None",
}


def mistyped_field(config: Any) -> str | None:
    """Return a message about the first field of a config with a value of the wrong type, or None.

    Accepted are also floats with integer values, numbers of numpy, and a tuple for a list. A field's metadata may name
    another type under ``accepts``. Only plain types are checked.
    """
    for attribute in attrs.fields(attrs.resolve_types(type(config))):
        value = getattr(config, attribute.name)
        wanted = attribute.metadata.get("accepts", attribute.type)
        if not _is(value, wanted):
            return f"{attribute.name} is {value!r}, but must be {_described(wanted)}"
    return None


def as_tuple(value: Any) -> Any:
    """Return lists and other iterables as a tuple; anything else unchanged, for `mistyped_field`."""
    return tuple(value) if hasattr(value, "__iter__") and not isinstance(value, str | bytes | Mapping) else value


def _is(value: Any, wanted: Any) -> bool:
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return any(_is(value, each) for each in inner)
    if origin is list:
        return isinstance(value, list | tuple) and all(_is(item, inner[0]) for item in value)
    if origin is tuple and Ellipsis not in inner:
        fits = isinstance(value, list | tuple) and len(value) == len(inner)
        return fits and all(_is(item, each) for item, each in zip(value, inner, strict=True))
    if wanted in (int, float):
        number = type(value) is not bool and isinstance(value, Real) and math.isfinite(value)
        return number and (wanted is float or isinstance(value, Integral) or float(value).is_integer())
    if wanted is bool:
        return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")  # numpy's bool
    return not isinstance(wanted, type) or isinstance(value, wanted)


def _described(wanted: Any) -> str:
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return " or ".join(_described(each) for each in inner)
    if origin is list:
        return f"a list, each item {_described(inner[0])}"
    if origin is tuple and Ellipsis not in inner:
        return f"{len(inner)} values, each {_described(inner[0])}"
    article = "an" if getattr(wanted, "__name__", "")[:1] in "AEIOU" else "a"
    return NAMES.get(wanted) or f"{article} {getattr(wanted, '__name__', wanted)}"
