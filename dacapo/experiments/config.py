"""The base of all configs, and the registry that finds a config class by its name.

A config is an attrs class that describes a part of a run in plain values, so that it can be written to a file and
read back. Defining a subclass registers it: stores, the command line and the docs then know it by its class name.
Classes of other packages are found when the package is imported, or through the entry point group
``dacapo.plugins``, whose entries name a module to import.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any, TypeVar

import attrs

from dacapo.errors import DuplicateNameError, UnknownTypeError

ENTRY_POINT_GROUP = "dacapo.plugins"

# Modules whose import registers the configs that ship with the package. Named here instead of imported, because
# configs must be found by name from layers below the ones that define them.
BUILTIN_MODULES = (
    "dacapo.experiments.run_config",
    "dacapo.experiments.architectures",
    "dacapo.experiments.datasplits",
    "dacapo.experiments.starts",
    "dacapo.experiments.tasks",
    "dacapo.experiments.trainers",
)

_registry: dict[str, type[Config]] = {}
_plugins_loaded = False

C = TypeVar("C", bound="type[Config]")


@attrs.define
class Config:
    """Base of all configs."""

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        register(cls)

    def verify(self) -> tuple[bool, str]:
        """Check the config without building anything.

        Returns:
            Whether the config can work, and a sentence that says why not (or that nothing was found).
        """
        return True, f"nothing wrong found in this {type(self).__name__}"


def register(cls: type[Config]) -> None:
    """Enter a config class under its class name.

    Raises:
        DuplicateNameError: If another class of that name is registered. Defining the same class again, as a
            notebook does, replaces it.
    """
    known = _registry.get(cls.__name__)
    if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise DuplicateNameError(
            f"config class {cls.__module__}.{cls.__qualname__} has the same name as "
            f"{known.__module__}.{known.__qualname__}; stored configs could not tell them apart, rename one"
        )
    _registry[cls.__name__] = cls


def load_plugins() -> None:
    """Import every module that registers configs: those of this package and the installed plugins."""
    global _plugins_loaded
    if _plugins_loaded:
        return
    for module in BUILTIN_MODULES:
        importlib.import_module(module)
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        entry_point.load()
    _plugins_loaded = True


def config_class(name: str, base: type[Config] = Config) -> type[Config]:
    """Find a config class by its name.

    Args:
        name: Class name, as written under ``__type__``.
        base: The class it must be, or derive from.

    Raises:
        UnknownTypeError: If there is none of that name below ``base``; the message lists the known ones.
    """
    found = _registry.get(name)
    if found is None:
        load_plugins()
        found = _registry.get(name)
    if found is None or not issubclass(found, base):
        known = ", ".join(sorted(known_configs(base)))
        raise UnknownTypeError(f"unknown {base.__name__} type {name!r}; known are {known}")
    return found


def known_configs(base: type[Config] = Config) -> dict[str, type[Config]]:
    """Return all registered config classes that derive from ``base``, by name."""
    load_plugins()
    return {name: cls for name, cls in _registry.items() if issubclass(cls, base)}


def help_texts(cls: type[Config]) -> dict[str, str]:
    """Return the help text of each field of a config class."""
    return {field.name: str(field.metadata.get("help_text", "")) for field in attrs.fields(cls)}


def field(help_text: str, **kwargs: Any) -> Any:
    """Return an attrs field with its help text, the one place where a config field is explained."""
    metadata = {**kwargs.pop("metadata", {}), "help_text": help_text}
    return attrs.field(metadata=metadata, **kwargs)
