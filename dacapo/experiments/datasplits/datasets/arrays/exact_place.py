"""Voxel size and offset as fractions of units, and as the integers that world coordinates are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from funlib.geometry import Coordinate

from dacapo.errors import MetadataError
from dacapo.utils.exact_numbers import parts_for, plain_number

from .world import length_of, long_name, parse_world_unit


@dataclass(frozen=True)
class ExactPlace:
    """Voxel size and offset as fractions of units."""

    voxel_size: list[Fraction]
    offset: list[Fraction]
    units: list[str]
    shown: list[str] | None
    parts: int = 1

    def counted(self, where: str, unit: str | None) -> tuple[Coordinate, Coordinate, ExactPlace]:
        """Return voxel size and offset in world coordinates, and what those count."""
        wanted = None if unit is None else parse_world_unit(unit)
        place = self._in_lengths("nm" if wanted is None else wanted[1]) if unit or self._parts() != 1 else self
        parts = place._parts() if wanted is None else int(1 / wanted[0])
        numbers = [*place.voxel_size, *place.offset]
        if parts is None or any((number * parts).denominator != 1 for number in numbers):
            raise MetadataError(
                f"{where}: voxel size {readable(self.voxel_size)} and offset {readable(self.offset)} are no integer "
                f"numbers of {unit or 'any part of their unit'}, so places would be inexact; correct the attributes"
            )
        size, offset = (Coordinate(int(n * parts) for n in values) for values in (place.voxel_size, place.offset))
        return size, offset, ExactPlace(place.voxel_size, place.offset, place.units, place.shown, parts)

    def _parts(self) -> int | None:
        return parts_for([*self.voxel_size, *self.offset])

    def _in_lengths(self, unit: str) -> ExactPlace:
        """Return the same with all lengths in one unit; axes whose unit is no length stay as they are."""
        new = length_of(unit)
        old = [length_of(own) for own in self.units]
        if new is None or set(old) <= {new, None}:
            return self
        factors = [Fraction(1) if length is None else length / new for length in old]
        size, offset = (
            [v * f for v, f in zip(values, factors, strict=True)] for values in (self.voxel_size, self.offset)
        )
        shown = [long_name(one) for one in self.units] if self.shown is None else self.shown
        units = [own if length is None else unit for own, length in zip(self.units, old, strict=True)]
        return ExactPlace(size, offset, units, shown)


def readable(values: Iterable[Any]) -> list[Any]:
    """Return values for a message, with plain numbers in place of fractions."""
    return [plain_number(value) if isinstance(value, Fraction) else value for value in values]
