"""Read the position of an array on disk in the world from its attributes: axes, voxel size, offset and units.

Several conventions are in use, and a file may follow more than one:

- *plain*: ``axes`` or ``axis_names``, ``types``, ``units``, ``offset``, ``resolution`` or ``voxel_size`` beside the
  data, in world units; axes may be one word, such as ``zyx``, and a name that ends in ``^`` is a channel axis;
- *transform*: one mapping ``transform`` with ``axes``, ``units``, ``scale`` and ``translate``;
- *N5*: the same as plain and ``pixelResolution`` with ``downsamplingFactors``, with the axes in x, y, z order;
- *OME-NGFF* multiscales on a group above the data, see :mod:`.ome_metadata`. Some writers give the center of the first
  voxel, which shifts each level by half of the growth of its voxels; all levels then begin where the first does.

All conventions present are read, and must agree. The offset is the corner of the first voxel.

Numbers with a fraction are kept exact: world coordinates then count an equal part of the unit, such as hundredths of a
nanometer; see :mod:`.world`. The plain attribute ``world_unit`` names that part where an array shares it with others.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from funlib.geometry import Coordinate, Roi

from dacapo.errors import MetadataError, MetadataWarning

from .axes import NON_SPATIAL_AXES, axis_names, spatial_axes_of
from .exact_place import ExactPlace, readable
from .metadata_values import exact_values, spatial_part
from .world import LENGTHS, World, long_name, world_unit

NANOMETERS = {name: float(length) for name, length in LENGTHS.items()}
WORLD_UNIT = "world_unit"
"""Attribute that names what the world coordinates of an array count, if that is only a part of its unit."""
OME_UNITS = "ome_units"
"""Attribute with the units of the file that an array was made from, if its own attributes are in others."""


@dataclass(frozen=True)
class ArrayMetadata:
    """Position of an array in the world.

    Attributes:
        axes: Names of all axes.
        voxel_size: World coordinates, per spatial axis.
        offset: World coordinates, per spatial axis.
        units: Per spatial axis; empty for pixels, or if unknown.
        parts: World coordinates per unit.
        shown: Names of the units in OME-NGFF; by default those of ``units``.
    """

    axes: list[str]
    voxel_size: Coordinate
    offset: Coordinate
    units: list[str]
    parts: int = 1
    shown: list[str] | None = None

    @property
    def world(self) -> World:
        """What world coordinates count."""
        shown = [long_name(unit) for unit in self.units] if self.shown is None else self.shown
        return World(tuple(self.units), self.parts, tuple(shown))

    @classmethod
    def of_world(cls, axes: list[str], voxel_size: Coordinate, offset: Coordinate, world: World) -> ArrayMetadata:
        """Return the metadata of an array whose coordinates count what those of another one count."""
        return cls(axes, Coordinate(voxel_size), offset, list(world.units), world.parts, list(world.shown))

    def roi(self, shape: Sequence[int]) -> Roi:
        """Return the region that an array of the given shape covers, in world units."""
        spatial = [n for axis, n in zip(self.axes, shape, strict=True) if axis not in NON_SPATIAL_AXES]
        return Roi(self.offset, self.voxel_size * Coordinate(spatial))

    def as_attributes(self) -> dict[str, Any]:
        """Return attributes with this content, in the plain convention under all its names."""
        types = {"c": "channel", "b": "batch"}
        part: dict[str, Any] = {} if self.parts == 1 else {WORLD_UNIT: world_unit(self.parts, self.units[0])}
        if self.shown is not None and list(self.shown) != [long_name(unit) for unit in self.units]:
            part[OME_UNITS] = list(self.shown)
        voxel_size = list(self.world.in_units(self.voxel_size))
        return {
            "axes": self.axes,
            "axis_names": self.axes,
            "types": [types.get(axis, "space") for axis in self.axes],
            "units": self.units,
            "offset": list(self.world.in_units(self.offset)),
            "resolution": voxel_size,
            "voxel_size": voxel_size,
            **part,
        }


@dataclass
class Candidates:
    """The values found in the attributes of an array, each with its key.

    Sequences are in the order of the data. Those in units have one entry per axis, or per spatial axis.
    """

    axes: list[tuple[str, list[str]]] = field(default_factory=list)
    voxel_size: list[tuple[str, list[float]]] = field(default_factory=list)
    offset: list[tuple[str, list[float]]] = field(default_factory=list)
    units: list[tuple[str, list[str]]] = field(default_factory=list)
    shown: list[tuple[str, list[str]]] = field(default_factory=list)
    world_unit: str | None = None


def read_metadata(
    where: str, shape: Sequence[int], found: Candidates, axes: Sequence[str] | None, unit: str | None = None
) -> ArrayMetadata:
    """Determine the metadata of an array.

    Args:
        where: File and dataset, for messages.
        shape: Shape of the data.
        found: The values in the attributes.
        axes: Names that override those of the attributes.
        unit: What world coordinates are to count, such as ``0.01 nm``; by default the attribute ``world_unit``, or else
            the unit of the array or the largest part of it that gives integers.

    Raises:
        MetadataError: If the values contradict each other or the shape, or cannot be counted exactly.

    Warns:
        MetadataWarning: If a value is missing. Axes are then the last of z, y, x, preceded by c; the voxel size is 1
            and the offset 0. Also if some attributes hold fractions and others the same numbers rounded.
    """
    names = _axes(where, shape, found, axes)
    dims = len(spatial_axes_of(names))

    def settle(key: str, candidates: list[tuple[str, list[float]]], default: int) -> list[Fraction]:
        values = [(k, exact_values(where, k, spatial_part(where, k, v, names))) for k, v in candidates]
        value = _agreed_numbers(where, key, values)
        if value is None:
            _warn(f"{where}: no {key} in its attributes; assumed {default} along each axis")
            return [Fraction(default)] * dims
        return value

    voxel_size = settle("voxel size", found.voxel_size, 1)
    if min(voxel_size) <= 0:
        key = found.voxel_size[0][0]
        raise MetadataError(f"{where}: {key} is {found.voxel_size[0][1]}; a voxel size must be positive")
    offset = settle("offset", found.offset, 0)
    units, shown = (
        next((spatial_part(where, key, value, names) for key, value in values), None)
        for values in (found.units, found.shown)
    )
    place = ExactPlace(voxel_size, offset, units or [""] * dims, shown)
    size, offset_, place = place.counted(where, unit or found.world_unit)
    return ArrayMetadata(names, size, offset_, place.units, place.parts, place.shown)


def _warn(message: str) -> None:
    warnings.warn(message, MetadataWarning, stacklevel=2)


def _axes(where: str, shape: Sequence[int], found: Candidates, override: Sequence[str] | None) -> list[str]:
    candidates = found.axes if override is None else [("_axes of the config", axis_names(override))]
    for key, value in candidates:
        if len(value) != len(shape):
            raise MetadataError(f"{where}: {key} is {value}, {len(value)} names for an array of shape {tuple(shape)}")
    given = _agreed(where, "axes", candidates)
    if given is None:
        given = _default_axes(where, len(shape), found)
        _warn(f"{where}: no axes in its attributes; assumed {', '.join(given)}")
    if len(set(given)) != len(given) or not spatial_axes_of(given):
        raise MetadataError(f"{where}: axes are {given}; expected different names, at least one of them spatial")
    return given


def _default_axes(where: str, ndim: int, found: Candidates) -> list[str]:
    given: list[tuple[str, Sequence[Any]]] = [*found.voxel_size, *found.offset, *found.units]
    lengths = {len(value) for _, value in given}
    dims = min(lengths | {ndim, 3})
    if ndim - dims > 2:
        raise MetadataError(f"{where}: no axes in its attributes, and no default for {ndim} dimensions")
    return ["b", "c"][2 - (ndim - dims) :] + ["z", "y", "x"][3 - dims :]


def _agreed_numbers(where: str, what: str, candidates: Sequence[tuple[str, list[Fraction]]]) -> list[Fraction] | None:
    """Return the numbers that all candidates give; integers that are others rounded give way to them."""
    if not candidates:
        return None
    best = max(candidates, key=lambda candidate: any(number.denominator > 1 for number in candidate[1]))
    exactly = [(key, value) for key, value in candidates if not _is_rounded(value, best[1])]
    if len(exactly) < len(candidates):
        rounded = ", ".join(key for key, value in candidates if _is_rounded(value, best[1]))
        _warn(f"{where}: {rounded} holds the {what} rounded; used {best[0]}, {readable(best[1])}")
    return _agreed(where, what, exactly, readable)


def _is_rounded(value: list[Fraction], exactly: list[Fraction]) -> bool:
    if value == exactly or len(value) != len(exactly) or any(number.denominator > 1 for number in value):
        return False
    return all(v in (round(e), math.floor(e)) for v, e in zip(value, exactly, strict=True))


def _agreed(
    where: str,
    what: str,
    candidates: Sequence[tuple[str, list[Any]]],
    readable: Callable[[list[Any]], list[Any]] = list,
) -> list[Any] | None:
    if not candidates:
        return None
    first_key, first = candidates[0]
    for key, value in candidates[1:]:
        if value != first:
            raise MetadataError(
                f"{where}: {what} given twice and differently: "
                f"{first_key} is {readable(first)}, {key} is {readable(value)}"
            )
    return first
