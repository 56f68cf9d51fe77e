"""Pages as text, from templates. Names and values of runs are escaped: anyone may have written them."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dacapo.web.chart import number_text
from dacapo.web.run_view import ago


def render(template: str, **values: Any) -> str:
    """Return a page."""
    return _templates().get_template(template).render(**values)


def static_text(name: str) -> str:
    """Return the text of a file that pages need, such as ``page.css``."""
    return files("dacapo.web").joinpath("static", name).read_text(encoding="utf-8")


def inside_page() -> dict[str, Any]:
    """Return the values with which a page holds style and script inside itself."""
    return {"inside": True, "style": Markup(static_text("page.css")), "script": Markup(static_text("page.js"))}


def digest(text: str) -> str:
    """Return what a content security policy calls a script or style that it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("dacapo.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters.update(number=number_text, ago=ago, digest=digest)
    templates.globals.update(inside=False)
    return templates
