"""From the metadata that was found in a file, and the overrides of a config, to the position of an array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .axes import TIME_AXES, axis_names, spatial_axes_of
from .metadata import ArrayMetadata, Candidates, read_metadata

STATED = {"axes": "axes", "voxel_size": "voxel_size", "offset": "offset", "unit": "units"}
"""Names of the metadata that a file may state, in configs and among the candidates."""


def metadata_from(
    where: str,
    shape: Sequence[int],
    found: Candidates,
    axes: Sequence[str] | None = None,
    voxel_size: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    world_unit: str | None = None,
    unit: str | None = None,
) -> ArrayMetadata:
    """Determine the metadata of an array; see :func:`.metadata.read_metadata`.

    Args:
        where: File and dataset, for messages.
        shape: Shape of the data.
        found: The values in the file; changed in place.
        axes: Names of the axes, instead of those in the file.
        voxel_size: In units, instead of that in the file.
        offset: In units, instead of that in the file.
        world_unit: What world coordinates count; see :func:`.metadata.read_metadata`.
        unit: Unit of voxel size and offset along each axis, instead of those in the file.

    Raises:
        MetadataError: If the values contradict each other or the shape.
    """
    _count_points_in_time(found, axes)
    if voxel_size is not None:
        found.voxel_size = [("voxel_size of the config", list(voxel_size))]
    if offset is not None:
        found.offset = [("offset of the config", list(offset))]
    if unit:
        names = axis_names(axes) if axes is not None else found.axes[0][1] if found.axes else []
        spatial = spatial_axes_of(names) or [""] * min(len(shape), 3)
        units = ["" if name.lower() in TIME_AXES else unit for name in spatial]
        found.units, found.shown = [("unit of the config", units)], []
    return read_metadata(where, shape, found, axes, world_unit)


def stated_in(found: Candidates) -> frozenset[str]:
    """Return which of ``axes``, ``voxel_size``, ``offset`` and ``unit`` a file states."""
    return frozenset(name for name, candidates in STATED.items() if getattr(found, candidates))


def _count_points_in_time(found: Candidates, axes: Sequence[str] | None) -> None:
    """Count points in time from 0 on, whatever lies between them, since only space has world units."""
    names = axis_names(axes) if axes is not None else found.axes[0][1] if found.axes else []
    place = next((number for number, name in enumerate(names) if name.lower() in TIME_AXES), None)
    counted: list[tuple[list[tuple[str, list[Any]]], Any]] = [
        (found.voxel_size, 1),
        (found.offset, 0),
        (found.units, ""),
        (found.shown, ""),
    ]
    for given, value in counted:
        for _, entries in given:
            if place is not None and len(entries) == len(names):
                entries[place] = value
