"""Collect the attributes of an array that are in the plain convention, or in a mapping ``transform``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .metadata import OME_UNITS, WORLD_UNIT, Candidates
from .metadata_values import list_of, name_by_type, names_of


def plain_candidates(where: str, attributes: Mapping[str, Any], found: Candidates) -> None:
    """Collect the values beside the data, in the order of the data."""
    types = attributes.get("types")
    for key in ("axes", "axis_names"):
        if key in attributes:
            found.axes.append((key, _typed_names(names_of(where, key, attributes[key]), types)))
    for key in ("voxel_size", "resolution"):
        if key in attributes:
            found.voxel_size.append((key, list_of(where, key, attributes[key])))
    if "offset" in attributes:
        found.offset.append(("offset", list_of(where, "offset", attributes["offset"])))
    if "units" in attributes:
        found.units.append(("units", [str(unit or "") for unit in list_of(where, "units", attributes["units"])]))
    if OME_UNITS in attributes:
        found.shown.append((OME_UNITS, [str(unit) for unit in list_of(where, OME_UNITS, attributes[OME_UNITS])]))
    if attributes.get(WORLD_UNIT) is not None:
        found.world_unit = str(attributes[WORLD_UNIT])
    transform_candidates(where, attributes, found)


def _typed_names(names: list[str], types: Any) -> list[str]:
    if not isinstance(types, Sequence) or len(types) != len(names):
        return names
    return [name_by_type(name, kind) for name, kind in zip(names, types, strict=True)]


def transform_candidates(where: str, attributes: Mapping[str, Any], found: Candidates) -> None:
    """Collect the values of the mapping ``transform``; its lists are in the order of the data, also in N5."""
    transform = attributes.get("transform")
    if not isinstance(transform, Mapping):
        return
    if "axes" in transform:
        found.axes.append(("transform/axes", names_of(where, "transform/axes", transform["axes"])))
    for key, collected in (
        ("scale", found.voxel_size),
        ("translate", found.offset),
        ("units", found.units),
    ):
        if key in transform:
            name = f"transform/{key}"
            collected.append((name, list_of(where, name, transform[key])))
