"""Teach any cattrs converter to handle configs as :mod:`dacapo.store.converter` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, overload

import cattrs
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError
from dacapo.experiments.config import Config, config_class

from .converter import converter as own
from .converter import is_config, is_in_hierarchy

PLAIN_KINDS = (Coordinate, Roi, Path)
"""Types that occur in fields of configs and are written as numbers, lists or strings."""


def register_hierarchy_hooks(converter: cattrs.Converter) -> None:
    """Teach a converter to write configs and the like with their ``__type__``, and to read them by it.

    Everything inside a config then follows the rules of :mod:`dacapo.store.converter`, whatever else the converter
    knows.

    Args:
        converter: The converter to teach. It keeps its hooks for other types.
    """
    converter.register_structure_hook_func(is_in_hierarchy, own.structure)
    converter.register_unstructure_hook_func(is_in_hierarchy, own.unstructure)


def register_hooks(converter: cattrs.Converter) -> None:
    """Teach a converter configs, and coordinates, rois and paths outside of configs.

    ::

        converter = cattrs.Converter()
        register_hooks(converter)
        converter.structure(converter.unstructure(run_config), RunConfig)

    Args:
        converter: The converter to teach.
    """
    register_hierarchy_hooks(converter)
    for kind in PLAIN_KINDS:
        converter.register_structure_hook(kind, own.structure)
        converter.register_unstructure_hook(kind, own.unstructure)


@overload
def cls_fun(typ: str) -> type[Config]: ...
@overload
def cls_fun(typ: type[Config]) -> Callable[[Any, Any], Any]: ...
def cls_fun(typ: str | type[Config]) -> type[Config] | Callable[[Any, Any], Any]:
    """Return the class, or the function, that builds a config of a kind.

    Args:
        typ: The name of a config class, as written under ``__type__``; or the base class of a hierarchy, such as
            ``ArrayConfig``.

    Returns:
        The class of that name; or, for a base class, a structure hook for cattrs: a function of plain values and a type
        that returns a config of the class named in the values, which must derive from the base.

    Raises:
        UnknownTypeError: If no config has this name.
        ConfigError: If ``typ`` is neither a name nor a config class.
    """
    if isinstance(typ, str):
        return config_class(typ)
    if not is_config(typ):
        raise ConfigError(f"expected the name of a config class or a config class, got {typ!r}")

    def structure(value: Any, _: Any) -> Any:
        return own.structure(value, typ)

    return structure
