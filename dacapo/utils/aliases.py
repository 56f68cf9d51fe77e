"""Legacy import paths as aliases of the current modules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping


def alias_modules(package: str, aliases: Mapping[str, str]) -> None:
    """Make ``package.<legacy>`` the same module object as ``package.<current>``.

    Args:
        package: Name of the package that holds both, usually ``__name__`` of the caller.
        aliases: Legacy module name to current module name, both relative to the package.
    """
    for legacy, current in aliases.items():
        module = importlib.import_module(f"{package}.{current}")
        sys.modules[f"{package}.{legacy}"] = module
        setattr(sys.modules[package], legacy, module)
