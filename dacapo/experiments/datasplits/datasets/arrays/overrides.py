"""The fields of array configs that say how to read a file, in place of the file's own metadata."""

from __future__ import annotations

from typing import Any, TypeVar

import attrs
from funlib.geometry import Coordinate

from dacapo.utils.paths import resolved

from .array import ArrayConfig

C = TypeVar("C", bound=ArrayConfig)

OVERRIDES = ("axes", "voxel_size", "offset", "unit", "snap_to_grid", "world_unit")
"""Their names; a config has those that its format supports."""


def overrides_of(config: ArrayConfig) -> dict[str, Any]:
    """Return the overrides that a config gives, by name."""
    values = {str(field.alias): getattr(config, field.name) for field in attrs.fields(type(config)) if field.init}
    return {name: values[name] for name in OVERRIDES if values.get(name) is not None}


def without_overrides(config: ArrayConfig, *names: str) -> ArrayConfig:
    """Return a config that gives none of some overrides."""
    return with_fields(config, {name: None for name in names if name in overrides_of(config)})


def with_fields(config: ArrayConfig, changes: dict[str, Any]) -> ArrayConfig:
    """Return a config with some fields replaced, which its class must have."""
    return attrs.evolve(config, **changes)


def read_like(leaf: ArrayConfig, own: ArrayConfig) -> ArrayConfig:
    """Return a config of a file that is read as another one says.

    The config's own overrides come first. An override that corrects files of one format says nothing about another
    format; there it only stands for metadata that is missing.

    Args:
        leaf: How to read.
        own: The file to read.
    """
    given = {**overrides_of(leaf), **overrides_of(own)}
    fields = {str(field.alias): getattr(own, field.name) for field in attrs.fields(type(own)) if field.init}
    if isinstance(leaf, type(own)):
        return with_fields(leaf, {**{name: value for name, value in fields.items() if name not in OVERRIDES}, **given})
    missing = {name for name in fields if name not in own.stated_metadata() and name not in overrides_of(own)}
    return with_fields(own, {name: value for name, value in given.items() if name in missing})


def source_of(config: ArrayConfig) -> str:
    """Return a text that identifies the array that a config reads, whatever it overrides."""
    file = getattr(config, "file_name", None)
    if file is None:
        return repr(attrs.evolve(config, name=""))
    return resolved(file / getattr(config, "dataset", "").strip("/"))


def recounted(config: C, unit: str) -> C:
    """Return the config of a file with world coordinates that count another unit.

    Args:
        config: The file; ``voxel_size`` and ``offset`` are in the unit of the file, and stay.
        unit: Such as ``0.01 nm``.

    Raises:
        ConfigError: If its grid cannot be counted in that unit.
    """
    grid = overrides_of(config).get("snap_to_grid")
    changes: dict[str, Any] = {"world_unit": unit}
    if grid is not None:
        changes["snap_to_grid"] = grid * config.array_type(config).world.factor_to(unit)
    return attrs.evolve(config, **changes)


def optional_coordinate(value: Any) -> Coordinate | None:
    """Convert a value to a coordinate, except None."""
    return None if value is None else Coordinate(value)


def optional_numbers(values: Any) -> list[float] | None:
    """Convert a sequence to a list of numbers, integers where they are whole; None stays None."""
    return None if values is None else [int(v) if float(v).is_integer() else float(v) for v in values]
