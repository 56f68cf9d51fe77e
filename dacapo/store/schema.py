"""JSON Schemas of configs, for editors and other programs, generated from the config classes.

A schema accepts everything that :func:`~dacapo.store.converter.from_plain` can read. Only `Config.verify` checks
whether the values work together.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import attrs
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError
from dacapo.experiments.config import Config, is_base, usable_configs
from dacapo.store.converter import TYPE_KEY, converter

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_SIMPLE: dict[Any, Schema] = {
    Any: {},
    NoneType: {"type": "null"},
    bool: {"anyOf": [{"type": "boolean"}, {"enum": [0, 1]}]},  # the original's files hold 0 and 1
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Path: {"type": "string"},
    Coordinate: {"type": "array", "items": {"type": "integer"}},
}
_ROI_PART: Schema = {"type": "array", "items": {"type": ["integer", "null"]}}


def json_schema(cls: type[Config]) -> Schema:
    """Return the JSON Schema (draft 2020-12) of the files that hold a config.

    Args:
        cls: Class of the config, or a base such as ``TaskConfig`` for any config of that kind.
    """
    definitions: Schema = {}
    top = _reference(cls, definitions)
    return {"$schema": DIALECT, "title": cls.__name__, **top, "$defs": dict(sorted(definitions.items()))}


def _reference(declared: type[Config], definitions: Schema) -> Schema:
    """Return a schema for a declared config class, and add the schemas that it refers to to the definitions."""
    choices = usable_configs(declared)
    # A class that is not (or no longer) registered cannot be read back, but still be described.
    if not is_base(declared):
        choices = {declared.__name__: declared, **choices}
    if list(choices) == [declared.__name__]:
        return _concrete(declared, definitions)
    name = f"Any{declared.__name__}"
    if name not in definitions:
        definitions[name] = {}  # added first: a config can hold configs of its own kind
        options = [
            _concrete(choice, definitions) | ({} if choice is declared else {"required": [TYPE_KEY]})
            for choice in choices.values()
        ]
        definitions[name] = {"description": _first_line(declared), "anyOf": options}
    return {"$ref": f"#/$defs/{name}"}


def _concrete(cls: type[Config], definitions: Schema) -> Schema:
    name = cls.__name__
    if name not in definitions:
        definitions[name] = {}
        fields = [field for field in attrs.fields(attrs.resolve_types(cls)) if field.init]
        properties: Schema = {TYPE_KEY: {"const": name, "description": "Class of the config."}}
        for field in fields:
            properties[field.name] = _field(field, definitions)
        definitions[name] = {
            "title": name,
            "description": _first_line(cls),
            "type": "object",
            "properties": properties,
            "required": [field.name for field in fields if field.default is attrs.NOTHING],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{name}"}


def _field(field: Any, definitions: Schema) -> Schema:
    schema: Schema = {"title": field.name, "description": str(field.metadata.get("help_text", ""))}
    default = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = attrs.NOTHING if default.takes_self else default.factory()
    if default is not attrs.NOTHING:
        schema["default"] = converter.unstructure(default)
    return schema | _type(field.type, definitions)


def _type(kind: Any, definitions: Schema) -> Schema:
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if kind in _SIMPLE:
        return dict(_SIMPLE[kind])
    if kind is Roi:
        return _items([_ROI_PART, _ROI_PART])
    if origin in (Union, UnionType):
        return {"anyOf": [_type(argument, definitions) for argument in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is list or (origin is tuple and arguments[1:] == (Ellipsis,)):
        return {"type": "array", "items": _type(arguments[0] if arguments else Any, definitions)}
    if origin is tuple:
        return _items([_type(argument, definitions) for argument in arguments])
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(arguments[1] if arguments else Any, definitions)}
    if isinstance(kind, type) and issubclass(kind, Config):
        return _reference(kind, definitions)
    raise ConfigError(f"a config field of type {kind} cannot be described by a JSON Schema; use plain types")


def _items(schemas: list[Schema]) -> Schema:
    """Return the schema of a list with one item per given schema."""
    return {"type": "array", "prefixItems": schemas, "minItems": len(schemas), "maxItems": len(schemas)}


def _first_line(cls: type[Config]) -> str:
    return (inspect.getdoc(cls) or "").partition("\n")[0]
