"""The base class of all configs, and the registry that finds a config class by name.

A config is an attrs class that describes a part of a run in plain values, so that it can be written to a file and
read back. Defining a subclass registers it: stores, the command line and the docs then know it by its class name.
Classes of other packages are found when the package is imported, or through the entry point group
``dacapo.plugins``, whose entries name a module to import.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import attrs

from dacapo.errors import ConfigError, DacapoError, DuplicateNameError, UnknownTypeError
from dacapo.experiments.field_help import fields_html, full_doc

ENTRY_POINT_GROUP = "dacapo.plugins"

# Modules whose import registers the configs of this package. They are named instead of imported, because lower layers
# than theirs must find configs by name.
BUILTIN_MODULES = (
    "dacapo.experiments.run_config",
    "dacapo.experiments.architectures",
    "dacapo.experiments.datasplits",
    "dacapo.experiments.starts",
    "dacapo.experiments.tasks",
    "dacapo.experiments.trainers",
)

# While configs are checked: those whose objects were built, by id, with the object, None for one inside another.
_built: ContextVar[dict[int, tuple[Config, Any]] | None] = ContextVar("built", default=None)

_registry: dict[str, type[Config]] = {}
_plugins_loaded = False

C = TypeVar("C", bound="type[Config]")


@attrs.define
class Config:
    """Base class of all configs."""

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        register(cls)
        cls.__doc__ = full_doc(cls)

    def _repr_html_(self) -> str:
        """Return a table of the fields with their meanings, for notebooks."""
        return fields_html(self)

    def verify(self) -> tuple[bool, str]:
        """Check the config and its nested configs.

        Trains and writes nothing, and reads no voxels. Subclasses add their own checks.

        Returns:
            Whether the config can work, and a sentence that gives the reason (or reports that no problem was found).
            For a problem in a nested config, the sentence begins with the path to it: ``raw_config: ...``.
        """
        problem = problem_inside(self)
        return (True, f"nothing wrong found in this {type(self).__name__}") if problem is None else (False, problem)


def register(cls: type[Config]) -> None:
    """Add a config class to the registry under its class name.

    Raises:
        DuplicateNameError: If a different class of that name is registered. Redefining the same class, as in a
            notebook, replaces it.
    """
    known = _registry.get(cls.__name__)
    if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise DuplicateNameError(
            f"config class {cls.__module__}.{cls.__qualname__} has the same name as "
            f"{known.__module__}.{known.__qualname__}; stored configs could not tell them apart; rename one of them"
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
        _load(entry_point)
    _plugins_loaded = True


def _load(entry_point: importlib.metadata.EntryPoint) -> None:
    """Import the module of a plugin.

    Raises:
        ConfigError: If it cannot be imported; without it, stored configs of its classes cannot be read.
    """
    try:
        entry_point.load()
    except Exception as error:
        package = entry_point.dist.name if entry_point.dist is not None else "unknown package"
        raise ConfigError(
            f"the plugin {entry_point.name!r} ({entry_point.value}) of {package} cannot be imported: "
            f"{type(error).__name__}: {error}; repair or uninstall it"
        ) from error


def config_class(name: str, base: type[Config] = Config) -> type[Config]:
    """Find a config class by name.

    Args:
        name: Class name, as written under ``__type__``.
        base: The class that it must be or derive from.

    Raises:
        UnknownTypeError: If no class of that name derives from ``base``; the message lists the known names.
    """
    found = _registry.get(name)
    if found is None:
        load_plugins()
        found = _registry.get(name)
    if found is None or not issubclass(found, base):
        known = ", ".join(usable_configs(base))
        raise UnknownTypeError(f"unknown {base.__name__} type {name!r}; known are {known}")
    return found


def known_configs(base: type[Config] = Config) -> dict[str, type[Config]]:
    """Return all registered config classes that derive from ``base``, by name."""
    load_plugins()
    return {name: cls for name, cls in _registry.items() if issubclass(cls, base)}


def is_base(cls: type[Config]) -> bool:
    """Return whether a config class only represents a kind of config, and cannot be used itself.

    Such a class is abstract, or declares the class that it builds (``task_type`` and the like) without setting it.
    """
    if cls is Config or inspect.isabstract(cls):
        return True
    declared = {name for base in cls.__mro__ for name in inspect.get_annotations(base) if name.endswith("_type")}
    return any(not hasattr(cls, name) for name in declared - {attribute.name for attribute in attrs.fields(cls)})


def usable_configs(base: type[Config] = Config) -> dict[str, type[Config]]:
    """Return the usable registered config classes that derive from ``base``, sorted by name."""
    return {name: cls for name, cls in sorted(known_configs(base).items()) if not is_base(cls)}


def configs_inside(config: Config) -> Iterator[tuple[str, Config]]:
    """Yield the configs directly in the fields of a config, with paths such as ``train_configs[2]``."""
    for attribute in attrs.fields(type(config)):
        yield from _configs_in(getattr(config, attribute.name, None), attribute.name)


def _configs_in(value: Any, path: str) -> Iterator[tuple[str, Config]]:
    if isinstance(value, Config):
        yield path, value
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _configs_in(item, f"{path}[{index}]")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _configs_in(item, f"{path}[{key!r}]")


def verify_all(config: Config, path: str = "") -> list[tuple[str, str]]:
    """Return all problems of a config and its nested configs, innermost first.

    Args:
        config: The config to check.
        path: Prefix of the paths.

    Returns:
        Pairs of a path such as ``datasplit_config.train_configs[2].raw_config``, empty for the config itself, and a
        sentence. A problem that an outer config reports about an inner one is not repeated.
    """
    problems: list[tuple[str, str]] = []
    with building_once():
        own = _problem(config)  # first, because it builds the objects of the inner ones too
        for step, inner in configs_inside(config):
            problems += verify_all(inner, f"{path}.{step}" if path else step)
    if own is not None and not any(sentence in own for _, sentence in problems):
        place, sentence = _split(config, own)
        problems.append((f"{path}.{place}" if path and place else path or place, sentence))
    return problems


def _split(config: Config, problem: str) -> tuple[str, str]:
    """Split a sentence after the path that it begins with, such as ``train_configs[2].name: ...``."""
    fields = "|".join(re.escape(attribute.name) for attribute in attrs.fields(type(config)))
    match = re.match(rf"((?:{fields})\b\S*): ", problem) if fields else None
    return (match.group(1), problem[match.end() :]) if match else ("", problem)


def problem_inside(config: Config) -> str | None:
    """Return the first problem of the configs directly inside a config, with its path, or None."""
    for step, inner in configs_inside(config):
        problem = _problem(inner)
        if problem is not None:
            place, sentence = _split(inner, problem)
            return f"{step}.{place}: {sentence}" if place else f"{step}: {sentence}"
    return None


def _problem(config: Config) -> str | None:
    cls = type(config)
    if is_base(cls):
        kinds = ", ".join(usable_configs(cls))
        return f"{cls.__name__} is a base class and cannot be used itself; use one of {kinds}"
    works, why = config.verify()
    return None if works else why


@contextmanager
def building_once() -> Iterator[None]:
    """Let :func:`built` build no object twice, so that several checks of a config open its files once."""
    if _built.get() is not None:
        yield
        return
    token = _built.set({})
    try:
        yield
    finally:
        _built.reset(token)


def built(config: Config, kind: Any) -> Any:
    """Return the object that a config describes, inside :func:`building_once` the one that was built before.

    Args:
        config: The config; building its object builds those of the configs inside it.
        kind: The class of the object.
    """
    known = _built.get()
    if known is None:
        return kind(config)
    made = known.get(id(config), (config, None))[1]
    if made is None:
        made = kind(config)
        known[id(config)] = config, made
        _mark_inside(config, known)
    return made


def _mark_inside(config: Config, known: dict[int, tuple[Config, Any]]) -> None:
    for _, inner in configs_inside(config):
        known.setdefault(id(inner), (inner, None))
        _mark_inside(inner, known)


def verify_by_building(config: Config, kind: Any) -> tuple[bool, str]:
    """Check a config by building the object that it describes, unless it was built as a part of another.

    Args:
        config: The config.
        kind: The class of the object.

    Returns:
        The same pair as `Config.verify`.
    """
    try:
        if id(config) not in (_built.get() or ()):
            built(config, kind)
    except DacapoError as error:
        inside = problem_inside(config)
        return False, inside if inside is not None and str(error) in inside else str(error)
    return True, f"nothing wrong found in this {type(config).__name__}"


def help_texts(cls: type[Config]) -> dict[str, str]:
    """Return the help text of each field of a config class."""
    return {field.name: str(field.metadata.get("help_text", "")) for field in attrs.fields(cls)}


def field(help_text: str, *, alters_training: bool = True, **kwargs: Any) -> Any:
    """Return an attrs field with a help text, the only place that explains the field.

    Args:
        help_text: The meaning of the field.
        alters_training: Whether another value makes a run with checkpoints a different run. It does not for names, for
            the number of iterations, and for settings that depend on the machine.
        **kwargs: Arguments of `attrs.field`.
    """
    metadata = {**kwargs.pop("metadata", {}), "help_text": help_text, "alters_training": alters_training}
    return attrs.field(metadata=metadata, **kwargs)


@attrs.frozen
class ConfigChange:
    """A difference between a config and an earlier one.

    Attributes:
        place: Path to the field, such as ``task_config.channels``.
        old: The earlier value.
        new: The current value.
        alters_training: Whether it makes a different run; a changed file path does not, since data may move.
    """

    place: str
    old: Any
    new: Any
    alters_training: bool


def changes(old: Any, new: Any, place: str = "", alters_training: bool = True) -> Iterator[ConfigChange]:
    """Yield the differences between a config and an earlier one."""
    if isinstance(old, Config) and type(old) is type(new):
        for attribute in attrs.fields(type(old)):
            name = attribute.name
            alters = alters_training and attribute.metadata.get("alters_training", True)
            yield from changes(getattr(old, name), getattr(new, name), f"{place}.{name}" if place else name, alters)
    elif isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from changes(one, other, f"{place}[{index}]", alters_training)
    elif old != new and not (old != old and new != new):  # NaN equals NaN here
        moved = isinstance(old, Path) and isinstance(new, Path)
        yield ConfigChange(place, old, new, alters_training and not moved)
