"""List the fields of configs in the reference, with the help texts that they carry."""

from __future__ import annotations

import inspect
from typing import Any

import attrs
from sphinx.application import Sphinx

from dacapo.experiments.config import Config, help_texts
from dacapo.experiments.field_help import FIELDS
from dacapo.options import DaCapoConfig
from dacapo.store.converter import to_plain


def _default(field: Any) -> str:
    value = field.default
    if value is attrs.NOTHING:
        return "required"
    if isinstance(value, attrs.Factory):
        if value.takes_self:
            return ""
        value = value.factory()
    return f"default ``{_text(value)}``"


def _text(value: Any) -> str:
    # Paths below a home folder differ from one machine to the next.
    if isinstance(value, Config):
        return f"{type(value).__name__}(name={getattr(value, 'name', '')!r})"
    plain = to_plain(value) if attrs.has(type(value)) else value
    return repr(plain).replace(str(__import__("pathlib").Path.home()), "~")


def _type(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return str(text).split(".")[-1] if "[" not in str(text) else str(text)


def add_fields(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Append the fields of a config to its docstring."""
    if what != "class" or not isinstance(obj, type) or not (issubclass(obj, Config) or obj is DaCapoConfig):
        return
    fields = attrs.fields(obj)
    if not fields:
        return
    texts = help_texts(obj)
    if FIELDS in lines:  # those of help()
        del lines[lines.index(FIELDS) :]
    lines += ["", ".. rubric:: Fields", ""]
    for field in fields:
        notes = [f"``{_type(field.type)}``", _default(field), "by keyword only" if field.kw_only else ""]
        lines += [f"``{field.alias}`` : {', '.join(filter(None, notes))}", f"    {texts[field.name]}", ""]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("autodoc-process-docstring", add_fields)
    return {"parallel_read_safe": True}
