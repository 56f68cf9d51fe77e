"""Resolve names in docstrings and annotations to where the reference describes them.

Annotations are text in this package, so they hold names as the modules import them: short ones, and those of packages
that export what their modules define. Names of other packages get no link, since nothing is downloaded when the
documentation is built. Any other name that does not resolve is an error.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import sys
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

# Packages of others, also under the names by which they are imported.
FOREIGN_PACKAGES = sys.stdlib_module_names | {
    *("_pytest", "attr", "attrs", "cattrs", "click", "daisy", "funlib", "gp", "gunpowder", "matplotlib", "np", "npt"),
    *("markupsafe", "numcodecs", "numpy", "pymongo", "pytest", "sqlalchemy", "tensorstore", "torch", "tqdm"),
    *("xarray", "xr", "yaml", "zarr"),
}
# Their names that annotations use without the package, where these are not evaluated, or that an inherited text names.
FOREIGN_NAMES = {"Axes", "Collection", "Coordinate", "Database", "Figure", "Module", "MongoClient", "Roi"}


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Node) -> nodes.Node | None:
    """Return a link, plain text for a foreign or undocumented name, or None, which is reported."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].lstrip(".~")
    objects = env.domains["py"].objects  # type: ignore[attr-defined]
    name = _described(list(objects), target, node.get("py:module") or "")
    if name is not None:
        entry = objects[name]
        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, name)
    foreign = target.split(".")[0] in FOREIGN_PACKAGES or target in FOREIGN_NAMES or hasattr(builtins, target)
    return contnode if foreign or _exists(node, target) else None


def _described(names: list[str], target: str, module: str) -> str | None:
    """Return the full name of the object that a target refers to in a module, if the reference documents it."""
    if target.startswith("dacapo."):
        place = _defined_at(target)
        return place if place in names else None
    found = [name for name in names if name.endswith(f".{target}")]
    public = [name for name in found if "._" not in name]
    return max(public or found, key=lambda name: (_common_parts(module, name), name), default=None)


def _common_parts(one: str, other: str) -> int:
    pairs = list(zip(one.split("."), other.split("."), strict=False))
    return next((index for index, (a, b) in enumerate(pairs) if a != b), len(pairs))


def _find(name: str) -> list[Any]:
    """Return the object at a dotted name, starting at its module; the last one reached if the path ends early."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            found: list[Any] = [importlib.import_module(".".join(parts[:count]))]
        except ImportError:
            continue
        for part in parts[count:]:
            if not hasattr(found[-1], part):
                return found
            found.append(getattr(found[-1], part))
        return [*found, True]
    return []


def _defined_at(target: str) -> str | None:
    """Return the full name, at its definition, of the object that a dotted name imports."""
    *way, complete = _find(target) or [None]
    if complete is not True:
        return None
    owner, found = way[-2], way[-1]
    if hasattr(found, "__module__") and hasattr(found, "__qualname__"):
        return f"{found.__module__}.{found.__qualname__}"
    if isinstance(owner, type):
        return f"{owner.__module__}.{owner.__qualname__}.{target.rpartition('.')[2]}"
    return target


def _exists(node: pending_xref, target: str) -> bool:
    """Return whether a name is there but not described: a type alias, a constant, an attribute, something private."""
    module, owner = node.get("py:module"), node.get("py:class")
    places = [target] if target.startswith("dacapo.") else []
    if module:
        places += [f"{module}.{target}", *([f"{module}.{owner}.{target}"] if owner else [])]
    return any(_is_there(place) for place in places)


def _is_there(name: str) -> bool:
    way, last = _find(name), name.rpartition(".")[2]
    if not way or way[-1] is True:
        return bool(way)
    owner = way[-1]
    declared = last in getattr(owner, "__annotations__", {})
    return declared or (isinstance(owner, type) and f"self.{last} = " in inspect.getsource(owner))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True}
