"""What the fields of configs mean, for ``help()`` and notebooks, from where fields are declared."""

from __future__ import annotations

import inspect
from typing import Any

import attrs

from dacapo.utils.html import html_table

FIELDS = "Fields:"
"""The line above the fields in a docstring."""

_LONGEST = 100  # characters of a value in a table


def default_of(field: attrs.Attribute[Any]) -> str:
    """Return the default of a field in words."""
    value = field.default
    if value is attrs.NOTHING:
        return "required"
    if value is not None and hasattr(
        value, "factory"
    ):  # only those of plain values are called, since others may do anything
        return shortened(value.factory()) if value.factory in (list, dict, tuple, set) else ""
    return shortened(value)


def shortened(value: Any) -> str:
    """Return the text of a value; a part, if it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def full_doc(cls: type[Any]) -> str:
    """Return the docstring of a config class, followed by its fields."""
    own = (inspect.getdoc(cls) or "").partition(f"{FIELDS}\n")[0].rstrip()
    fields = attrs.fields(cls)
    if not fields:
        return own
    lines = [own, "", FIELDS] if own else [FIELDS]
    for field in fields:
        default = default_of(field)
        extra = default if default in ("required", "") else f"default {default}"
        lines += [f"    {field.alias}{f' ({extra})' if extra else ''}", f"        {_help(field)}"]
    return "\n".join(lines)


def fields_html(config: Any) -> str:
    """Return a table of the fields of a config: value, default and meaning."""
    rows = [
        [field.alias, shortened(getattr(config, field.name, "")), default_of(field), _help(field)]
        for field in attrs.fields(type(config))
    ]
    return html_table(type(config).__name__, ["field", "value", "default", "meaning"], rows)


def _help(field: attrs.Attribute[Any]) -> str:
    return str(field.metadata.get("help_text", ""))
