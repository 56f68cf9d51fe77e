"""The unit that the integral world coordinates of an array count.

Rois and voxel sizes are integers. They count the unit of the file, or, if its voxel size or offset has a fraction, an
equal part of that unit: with voxels of 5.24 nm, world coordinates count hundredths of a nanometer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction

import attrs
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, RoiError
from dacapo.utils.exact_numbers import parts_for, plain_number
from dacapo.utils.world_text import Length, PhysicalExtent, PhysicalRoi

LENGTHS = {
    "angstrom": Fraction(1, 10),
    "picometer": Fraction(1, 1000),
    "nanometer": Fraction(1),
    "micrometer": Fraction(1000),
    "millimeter": Fraction(10**6),
    "centimeter": Fraction(10**7),
    "meter": Fraction(10**9),
}
"""Units of length in nanometers, by the names that OME-NGFF uses."""

_SHORT = {
    "å": "angstrom",
    "ångström": "angstrom",
    "pm": "picometer",
    "nm": "nanometer",
    "um": "micrometer",
    "µm": "micrometer",  # the micro sign
    "\N{GREEK SMALL LETTER MU}m": "micrometer",
    "micron": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
}
_PIXELS = ("", "px", "pixel", "pixels", "voxel", "voxels")
_WORLD_UNIT = re.compile(r"\s*(\d+(?:\.\d+)?|\d+/\d+)\s*(\S*)\s*")


def long_name(unit: str) -> str:
    """Return the name of a unit in OME-NGFF; an unknown one is returned as it is, and pixels as an empty string.

    >>> long_name("um"), long_name("nanometers"), long_name("second"), long_name("px")
    ('micrometer', 'nanometer', 'second', '')
    """
    key = unit.strip().lower()
    if key in _PIXELS:
        return ""
    known = _SHORT.get(key) or _SHORT.get(key.removesuffix("s"))
    if known is None:
        singular = key.removesuffix("s").replace("metre", "meter")
        known = singular if singular in LENGTHS else unit
    return known


def length_of(unit: str) -> Fraction | None:
    """Return a unit of length in nanometers, None for other units."""
    return LENGTHS.get(long_name(unit))


@attrs.frozen
class World:
    """What the world coordinates of an array count.

    Attributes:
        units: Unit of each spatial axis, as in attributes (``nm``); empty for pixels, or if unknown.
        parts: World coordinates per unit.
        shown: Names of the units of the file in OME-NGFF, for arrays that are made from this one.
    """

    units: tuple[str, ...] = attrs.field()
    parts: int = 1
    shown: tuple[str, ...] = attrs.field(
        default=attrs.Factory(lambda self: tuple(map(long_name, self.units)), takes_self=True),
        eq=False,
    )

    @classmethod
    def unknown(cls, dims: int) -> World:
        """Return the world of an array of which no unit is known."""
        return cls(("",) * dims)

    @property
    def sizes(self) -> list[Fraction | None]:
        """Size of a world coordinate in nanometers, by axis; None where the unit is no length."""
        lengths = map(length_of, self.units)
        return [None if length is None else length / self.parts for length in lengths]

    def in_units(self, values: Iterable[int]) -> tuple[int | float, ...]:
        """Return world coordinates in units, such as the voxel size in nanometers."""
        return tuple(plain_number(Fraction(int(value), self.parts)) for value in values)

    def in_nanometers(self, values: Iterable[int]) -> tuple[int | float, ...]:
        """Return world coordinates in nanometers; in units along axes whose unit is no length."""
        pairs = zip(values, self.sizes, strict=True)
        return tuple(plain_number(int(value) * (size or Fraction(1, self.parts))) for value, size in pairs)

    def in_shown(self, values: Iterable[int]) -> list[Fraction]:
        """Return world coordinates in the units that files for others state, :attr:`shown`."""
        lengths = [
            None if size is None else LENGTHS.get(unit) for size, unit in zip(self.sizes, self.shown, strict=True)
        ]
        return [
            Fraction(int(value), self.parts) if size is None or length is None else int(value) * size / length
            for value, size, length in zip(values, self.sizes, lengths, strict=True)
        ]

    def factor_to(self, unit: str) -> Coordinate:
        """Return by how much coordinates grow if they count another unit.

        Args:
            unit: Such as ``0.01 nm``.

        Raises:
            ConfigError: If coordinates would not stay integers.
        """
        size, name = parse_world_unit(unit)
        new = length_of(name)
        factors = []
        for own in self.sizes:
            factor = Fraction(1, self.parts) / size if own is None or new is None else own / (new * size)
            if factor.denominator != 1:
                raise ConfigError(f"world coordinates that count {self} cannot be counted in {unit!r}, which is larger")
            factors.append(int(factor))
        return Coordinate(factors)

    def __str__(self) -> str:
        name = self.units[0] if len(set(self.units)) < 2 else f"({', '.join(self.units)})"
        return world_unit(self.parts, name)


def world_unit(parts: int, unit: str) -> str:
    """Return a part of a unit as text.

    >>> world_unit(100, "nm"), world_unit(3, "nm"), world_unit(10, "")
    ('0.01 nm', '1/3 nm', '0.1')
    """
    decimals = len(str(parts)) - 1
    size = f"1/{parts}" if 10**decimals != parts else f"{1 / parts:.{decimals}f}"
    return f"{size} {unit}".strip()


def parse_world_unit(text: str) -> tuple[Fraction, str]:
    """Return number and name of a unit such as ``0.01 nm``.

    Raises:
        ConfigError: If the text has another form.
    """
    match = _WORLD_UNIT.fullmatch(text)
    size = Fraction(match.group(1)) if match and not match.group(1).endswith("/0") else Fraction(0)
    if match is None or size <= 0 or (1 / size).denominator != 1:
        raise ConfigError(f"{text!r} is not a unit, or an equal part of one, such as '1 nm', '0.01 nm' or '1/3 nm'")
    return size, match.group(2)


def common_unit(worlds: Sequence[World]) -> str | None:
    """Return the largest unit that the coordinates of several arrays can all be counted in.

    Where the unit of an array is unknown it counts as that of the others.

    Returns:
        The unit, or None if the arrays agree already.
    """
    lengths = {length_of(unit): unit for world in worlds for unit in world.units}
    known = {length: unit for length, unit in lengths.items() if length is not None}
    if len({world.parts for world in worlds}) == 1 and (
        len(known) < 2 or len({tuple(world.sizes) for world in worlds}) == 1
    ):
        return None
    if len(known) == 1:
        return world_unit(math.lcm(*(world.parts for world in worlds)), *known.values())
    sizes = [size or Fraction(1, world.parts) for world in worlds for size in world.sizes]
    parts = parts_for(sizes)
    if parts is None:
        raise ConfigError(
            f"arrays that count {', '.join(map(str, worlds))} have no unit in common; resample one of them"
        )
    return world_unit(parts, "nm" if known else "")


def scaled(roi: Roi, factor: Coordinate) -> Roi:
    """Return a roi in smaller units."""
    return Roi(roi.offset * factor, roi.shape * factor)


def placed_roi(roi: Roi | PhysicalRoi, world: World) -> Roi:
    """Return a region in world coordinates.

    Raises:
        RoiError: If a length is no integer number of them, or the region is empty.
    """
    if isinstance(roi, Roi):
        return roi
    begin, end = (_counts(limit, world, roi.text) for limit in (roi.begin, roi.end))
    if any(b >= e for b, e in zip(begin, end, strict=True)):
        raise RoiError(f"{roi.text!r} is empty: each axis needs an end beyond its begin")
    return Roi(begin, end - begin)


def placed_extent(extent: Coordinate | PhysicalExtent, world: World) -> Coordinate:
    """Return an extent in world coordinates.

    Raises:
        RoiError: If a length is no integer number of them.
    """
    return _counts(extent.lengths, world, extent.text) if isinstance(extent, PhysicalExtent) else extent


def _counts(lengths: Sequence[Length], world: World, text: str) -> Coordinate:
    if len(lengths) != len(world.units):
        raise RoiError(f"{text!r} is for {len(lengths)} axes, but the array has {len(world.units)} spatial ones")
    counts = [_count(*pair, text) for pair in zip(lengths, world.units, [world.parts] * len(lengths), strict=True)]
    return Coordinate(counts)


def _count(length: Length, unit: str, parts: int, text: str) -> int:
    given, own = length_of(length.unit), length_of(unit)
    if long_name(length.unit) == long_name(unit):
        count = length.value * parts
    elif given is not None and own is not None:
        count = length.value * given / own * parts
    else:
        raise RoiError(f"{text!r} is in {length.unit}, but the unit of the array is {unit or 'unknown'}")
    if count.denominator != 1:
        raise RoiError(f"{text!r} is not on the voxel grid, whose positions are multiples of {world_unit(parts, unit)}")
    return int(count)
