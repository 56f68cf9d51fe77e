"""Conversion of configs to plain values (numbers, strings, lists, dicts) and back.

``__type__`` names the class of a config. For a field declared with a base class, reading looks the class up in the
registry and refuses an unknown one. Reading is strict: an unknown field, a missing field, or a value of the wrong type
is an error that names its path.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import attrs
import cattrs
from cattrs.cols import mapping_structure_factory
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, UnknownTypeError
from dacapo.experiments.config import Config, config_class
from dacapo.utils.paths import is_upath, user_path

TYPE_KEY = "__type__"

C = TypeVar("C")
FindClass = Callable[[str | None, Any, Collection[str]], Any]

_hierarchies: list[Callable[[Any], bool]] = []


def is_config(cls: Any) -> bool:
    """Return whether a type is a config class."""
    return isinstance(cls, type) and issubclass(cls, Config)


def _a(cls: type) -> str:
    return f"{'an' if cls.__name__[0] in 'AEIOU' else 'a'} {cls.__name__}"


def _mismatch(value: Any, expected: str) -> TypeError:
    return TypeError(f"expected {expected}, got {value!r}")


def _strict_number(kind: type) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if kind is bool and (isinstance(value, bool) or value in (0, 1)):
            return bool(value)
        if kind is float and number:
            return float(value)
        if kind is int and _is_whole(value):
            return int(value)
        raise _mismatch(value, {int: "a whole number", float: "a number", bool: "true or false"}[kind])

    return structure


def _is_tuple(cls: Any) -> bool:
    origin: Any = get_origin(cls)
    return origin is tuple


def _is_list(cls: Any) -> bool:
    return (get_origin(cls) or cls) is list


def _is_dict(cls: Any) -> bool:
    return (get_origin(cls) or cls) is dict


def _is_number_union(cls: Any) -> bool:
    return get_origin(cls) in (Union, UnionType) and {int, float} <= set(get_args(cls)) <= {int, float, NoneType}


def _structure_number_union(value: Any, cls: Any) -> Any:
    if value is None and NoneType in get_args(cls):
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise _mismatch(value, "a number")


def _structure_str(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, "a string")
    return value


def _structure_path(value: Any, _: Any) -> Path:
    if is_upath(value):
        return user_path(value)
    if not isinstance(value, (str, Path)):
        raise _mismatch(value, "a path")
    return Path(value)


def _is_whole(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # Infinity and NaN cannot be converted to an integer.
    return number and math.isfinite(value) and value == int(value)


def _structure_coordinate(value: Any, _: Any) -> Coordinate:
    # Coordinate would silently truncate 1.5 to 1.
    if not isinstance(value, (list, tuple)) or not all(_is_whole(v) for v in value):
        raise _mismatch(value, "a list of whole numbers")
    return Coordinate(value)


def _structure_roi_part(value: Any) -> Coordinate:
    # None marks an unbounded dimension.
    if not isinstance(value, (list, tuple)) or not all(v is None or _is_whole(v) for v in value):
        raise _mismatch(value, "a list of whole numbers (null: unbounded)")
    return Coordinate(value)


def _structure_roi(value: Any, _: Any) -> Roi:
    if isinstance(value, Roi):
        return value
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise _mismatch(value, "a roi as [offset, shape]")
    offset, shape = (_structure_roi_part(part) for part in value)
    if len(offset) != len(shape):
        raise _mismatch(value, "a roi whose offset and shape have the same length")
    return Roi(offset, shape)


def _structure_list(value: Any, cls: Any) -> list[Any]:
    # cattrs would accept any iterable, and split a string into letters.
    if not isinstance(value, (list, tuple)):
        raise _mismatch(value, "a list")
    (kind,) = get_args(cls) or (Any,)
    return _structure_items(value, [kind] * len(value), cls)


def _structure_tuple(value: Any, cls: Any) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _mismatch(value, "a list")
    kinds = get_args(cls)
    if kinds[1:] == (Ellipsis,):
        kinds = kinds[:1] * len(value)
    if len(value) != len(kinds):
        raise _mismatch(value, f"a list of {len(kinds)} values")
    return tuple(_structure_items(value, kinds, cls))


def _structure_items(values: Iterable[Any], kinds: Iterable[Any], cls: Any) -> list[Any]:
    items: list[Any] = []
    errors: list[Exception] = []
    for index, (value, kind) in enumerate(zip(values, kinds, strict=True)):
        try:
            items.append(converter.structure(value, kind))
        except (TypeError, ValueError, cattrs.BaseValidationError) as error:
            error.add_note(cattrs.IterableValidationNote(f"at index {index}", index, kind))
            errors.append(error)
    if errors:
        raise cattrs.IterableValidationError("wrong items", errors, cls)
    return items


def _dict_factory(cls: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    structure_mapping: Callable[[Any, Any], Any] = mapping_structure_factory(cls, converter)

    def structure(value: Any, kind: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _mismatch(value, "names with values")
        return structure_mapping(value, kind)

    return structure


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind in (int, float, bool):
        converter.register_structure_hook(kind, _strict_number(kind))
    converter.register_structure_hook(str, _structure_str)
    converter.register_structure_hook(Path, _structure_path)
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook(Coordinate, _structure_coordinate)
    converter.register_unstructure_hook(Coordinate, lambda value: [None if v is None else int(v) for v in value])
    converter.register_structure_hook(Roi, _structure_roi)
    converter.register_unstructure_hook(
        Roi, lambda roi: [converter.unstructure(roi.offset), converter.unstructure(roi.shape)]
    )
    converter.register_structure_hook_func(_is_number_union, _structure_number_union)
    converter.register_structure_hook_func(_is_list, _structure_list)
    converter.register_structure_hook_func(_is_tuple, _structure_tuple)
    converter.register_structure_hook_factory(_is_dict, _dict_factory)
    converter.register_unstructure_hook(tuple, lambda value: [converter.unstructure(item) for item in value])
    converter.register_unstructure_hook_func(_is_tuple, lambda value: [converter.unstructure(item) for item in value])

    add_hierarchy(converter, is_config, lambda name, base, _: config_class(name or base.__name__, base))
    return converter


def add_hierarchy(converter: cattrs.Converter, belongs: Callable[[Any], bool], find: FindClass) -> None:
    """Teach a converter to write the attrs classes of a hierarchy with a ``__type__``, and to read them by it.

    Args:
        converter: The converter to teach.
        belongs: Whether a type is in the hierarchy.
        find: Returns the class to read, given the name under ``__type__`` (if any), the requested class, which the
            result must be or derive from, and the names of the fields. Raises an UnknownTypeError if no class matches.
    """
    # Functions are generated per concrete class; the factory's hook only dispatches to them. Registering the
    # dispatching hook for the concrete class itself would recurse endlessly.
    concrete: dict[type, Callable[[Any, Any], Any]] = {}

    def structure_factory(base: Any, _: Any = None) -> Callable[[Any, Any], Any]:
        def structure(value: Any, _: Any) -> Any:
            if isinstance(value, base):
                return value
            if not isinstance(value, Mapping):
                raise _mismatch(value, f"the fields of {_a(base)}")
            fields = dict(value)
            name = fields.pop(TYPE_KEY, None)
            if not isinstance(name, str | None) or not all(isinstance(key, str) for key in fields):
                raise _mismatch(value, f"the fields of {_a(base)} by name")
            cls = find(name, base, fields)
            if cls not in concrete:
                concrete[cls] = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True)
            return concrete[cls](fields, cls)

        return structure

    def unstructure_factory(cls: Any, _: Any = None) -> Callable[[Any], dict[str, Any]]:
        per_class: dict[type, Callable[[Any], dict[str, Any]]] = {}

        def unstructure(value: Any) -> dict[str, Any]:
            kind = type(value)
            if kind not in per_class:
                per_class[kind] = make_dict_unstructure_fn(kind, converter)
            return {TYPE_KEY: kind.__name__, **per_class[kind](value)}

        return unstructure

    converter.register_structure_hook_factory(belongs, structure_factory)
    converter.register_unstructure_hook_factory(belongs, unstructure_factory)
    _hierarchies.append(belongs)


def is_in_hierarchy(cls: Any) -> bool:
    """Return whether objects of a type are written with the name of their class, as configs are."""
    return any(belongs(cls) for belongs in _hierarchies)


converter = _make_converter()


def to_plain(config: Config) -> dict[str, Any]:
    """Return a config as plain values that YAML and JSON can hold.

    Raises:
        ConfigError: If the value of a field does not match its type and cannot be converted.
    """
    try:
        plain: dict[str, Any] = converter.unstructure(config)
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{config!r} cannot be converted to plain values: {error}; check the types of its fields"
        ) from error
    return plain


def from_plain(plain: Any, base: type[C], source: str = "") -> C:
    """Build a config, or the parameters of a post-processor, from plain values.

    Args:
        plain: The result of :func:`to_plain`, or the same read from a file of the original.
        base: The class of the config, or a base class of it if ``plain`` names the class.
        source: Origin of the values (a file name), for the error message.

    Raises:
        ConfigError: If a field is unknown, missing or of the wrong type; the message lists each with its path.
        UnknownTypeError: If a class is unknown.
    """
    try:
        return converter.structure(plain, base)
    except (TypeError, ValueError, cattrs.BaseValidationError) as error:
        problems = "; ".join(f"{path}: {what}" if path else what for path, what in _problems(error))
        kind = UnknownTypeError if _has_unknown_type(error) else ConfigError
        where = f"{source}: " if source else ""
        raise kind(f"{where}{base.__name__} cannot be read: {problems}") from error


def find_problems(plain: Any, base: type[Config]) -> list[tuple[str, str]]:
    """Return the problems that keep :func:`from_plain` from building a config.

    Returns:
        Pairs of a path such as ``datasplit_config.train_configs[2].raw_config.dataset``, empty for the whole, and a
        sentence; an empty list if the config can be built.
    """
    try:
        converter.structure(plain, base)
    except (TypeError, ValueError, cattrs.BaseValidationError) as error:
        return list(_problems(error))
    return []


def _has_unknown_type(error: BaseException) -> bool:
    """Return whether an unknown type is among the problems, at any depth."""
    if isinstance(error, BaseExceptionGroup):
        return any(_has_unknown_type(inner) for inner in error.exceptions)
    return isinstance(error, UnknownTypeError)


def _problems(error: BaseException, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield path and sentence of each problem in an error of the converter."""
    if isinstance(error, (cattrs.ClassValidationError, cattrs.IterableValidationError)):
        placed, others = error.group_exceptions()
        for inner, note in placed:
            step = f"[{note.index!r}]" if isinstance(note, cattrs.IterableValidationNote) else f".{note.name}"
            yield from _problems(inner, (path + step).removeprefix("."))
        for inner in others:
            yield from _problems(inner, path)
    elif isinstance(error, cattrs.ForbiddenExtraKeysError):
        for name in sorted(error.extra_fields):
            yield f"{path}.{name}".removeprefix("."), _unknown_field(name, error.cl)
    elif isinstance(error, KeyError):
        yield path, "this field is required, but missing"
    else:
        yield path, str(error)


def _unknown_field(name: str, cls: type) -> str:
    known = [field.name for field in attrs.fields(cls)]
    close = difflib.get_close_matches(name, known, n=1)
    return f"unknown field; {_a(cls)} has {f'{close[0]!r}, did you mean that?' if close else ', '.join(known)}"
