"""Read docstrings as written in this package, which differs slightly from napoleon.

Types of return values, properties and constants are in the annotations. A colon in their text is therefore a colon, and
does not separate a type from its description. A star before a name, as in ``(channels, *shape)``, is a star.
"""

from __future__ import annotations

import re
from types import FunctionType
from typing import Any

import attrs
import sphinx.ext.napoleon
from sphinx.application import Sphinx
from sphinx.ext.napoleon.docstring import GoogleDocstring

_LITERAL = re.compile(r"(``.*?``|`.*?`)")
# The form in which attrs writes a default in the source of __init__.
_ATTRS_DEFAULT = re.compile(r"attr_dict\['(\w+)'\]\.default")
_STAR = re.compile(r"(?<=[ (])\*(?=\w+(?:\.\w+)*[,)\s])")


class Docstring(GoogleDocstring):
    """A docstring whose types are in the annotations."""

    def __init__(self, docstring: Any, config: Any = None, app: Any = None, what: str = "", *args: Any) -> None:
        """Treat properties and constants as functions, which may have sections such as Raises."""
        plain = what in ("property", "attribute", "data")
        super().__init__(docstring, config, app, "function" if plain else what, *args)

    def _consume_returns_section(self, preprocess_types: bool = False) -> list[tuple[str, str, list[str]]]:
        lines = self._dedent(self._consume_to_next_section())
        return [("", "", self.__class__(lines, self._config).lines())] if lines else []


def escape_stars(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep stars before names from beginning an emphasis."""
    for number, line in enumerate(lines):
        parts = _LITERAL.split(line)
        lines[number] = "".join(part if i % 2 else _STAR.sub(r"\\*", part) for i, part in enumerate(parts))


def name_factories(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Write the defaults of attrs classes as values, and those that are made anew for each object as dots."""
    if signature is not None and what == "class" and attrs.has(obj):
        defaults = {field.name: field.default for field in attrs.fields(obj)}
        signature = _ATTRS_DEFAULT.sub(lambda match: repr(defaults[match[1]]), signature)
    return (None if signature is None else signature.replace("<factory>", "...").replace("NOTHING", "...")), returns


def leave_out_methods_of_others(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out methods that another package made for a class, as matplotlib does for figures, in its own markup."""
    is_foreign = isinstance(obj, FunctionType) and not obj.__module__.startswith("dacapo")
    return True if what == "class" and is_foreign else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.setup_extension("sphinx.ext.napoleon")
    sphinx.ext.napoleon.GoogleDocstring = Docstring  # type: ignore[misc]
    app.connect("autodoc-skip-member", leave_out_methods_of_others)
    app.connect("autodoc-process-signature", name_factories)
    app.connect("autodoc-process-docstring", escape_stars, priority=100)
    return {"parallel_read_safe": True}
