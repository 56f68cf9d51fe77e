"""Collect the attributes of an N5 array, and of the group above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dacapo.errors import MetadataError

from .axes import NON_SPATIAL_AXES
from .metadata import WORLD_UNIT, Candidates
from .metadata_values import exact_values, list_of, names_of
from .plain_metadata import plain_candidates


def n5_candidates(where: str, levels: Sequence[Mapping[str, Any]], found: Candidates) -> None:
    """Collect the values of N5 attributes; their lists are in the order x, y, z.

    ``downsamplingFactors`` multiply ``pixelResolution``, which refers to the full resolution. They do not affect the
    offset, since the corner of a volume does not move when its voxels grow.

    Args:
        where: File and dataset, for messages.
        levels: Attributes of the dataset, then of the group above it, which may hold the resolution.
        found: The values collected so far, extended in place.
    """
    own, *above = levels
    reverse = {
        **{key: names_of(where, key, own[key])[::-1] for key in ("axes", "axis_names") if key in own},
        **{
            key: list_of(where, key, own[key])[::-1]
            for key in ("types", "units", "offset", "resolution", "voxel_size")
            if key in own
        },
        **{key: own[key] for key in (WORLD_UNIT,) if key in own},
    }
    transform = {"transform": own["transform"]} if "transform" in own else {}
    plain_candidates(where, {**reverse, **transform}, found)
    for attributes in (own, *above):
        if "pixelResolution" in attributes:
            _pixel_resolution(where, attributes["pixelResolution"], own.get("downsamplingFactors"), found)
            return
    if not found.voxel_size and above and "resolution" in above[0]:
        _pixel_resolution(where, above[0]["resolution"], own.get("downsamplingFactors"), found, "resolution")


def _pixel_resolution(where: str, value: Any, factors: Any, found: Candidates, key: str = "pixelResolution") -> None:
    unit = value.get("unit") if isinstance(value, Mapping) else None
    size = list_of(where, key, value.get("dimensions") if isinstance(value, Mapping) else value)[::-1]
    if factors is not None:
        scale = list_of(where, "downsamplingFactors", factors)[::-1]
        if len(scale) != len(size):
            dims = min(len(scale), len(size))
            scale, size = (_spatial_entries(part, dims, found) for part in (scale, size))
        if len(scale) != len(size):
            raise MetadataError(f"{where}: {key} is {value}, but downsamplingFactors {factors} has another length")
        size, scale = (exact_values(where, name, part) for name, part in ((key, size), ("downsamplingFactors", scale)))
        size = [a * b for a, b in zip(size, scale, strict=True)]
        key = f"{key} times downsamplingFactors"
    found.voxel_size.append((key, size))
    if unit is not None:
        found.units.append((key, [str(unit)] * len(size)))


def _spatial_entries(values: list[Any], dims: int, found: Candidates) -> list[Any]:
    """Drop the entry of the channels: without names, the first of four axes."""
    names = found.axes[0][1] if found.axes else ["c", "z", "y", "x"]
    if len(values) == dims or len(names) != len(values):
        return values
    return [value for name, value in zip(names, values, strict=True) if name not in NON_SPATIAL_AXES]
