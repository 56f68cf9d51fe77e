"""Parse regions and extents, in world units or with a unit such as nm."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

import attrs
from funlib.geometry import Coordinate, Roi

from dacapo.errors import RoiError

_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*([^\W\d_]*)\s*"
_AXIS = rf"{_NUMBER}:{_NUMBER}"
_AXES = rf"{_AXIS}(?:,{_AXIS})*"
_ROI = re.compile(rf"\s*(?:\[{_AXES}\]|{_AXES})\s*")
_NUMBERS = rf"{_NUMBER}(?:,{_NUMBER})*,?\s*"
_EXTENT = re.compile(rf"\s*(?:\[{_NUMBERS}\]|\({_NUMBERS}\)|{_NUMBERS})\s*")


@attrs.frozen
class Length:
    """A number with a unit."""

    value: Fraction
    unit: str


@attrs.frozen
class PhysicalRoi:
    """A region in units of length, which becomes a :class:`Roi` where the array is known.

    Attributes:
        begin: Per axis.
        end: Per axis.
        text: The text that it was given as.
    """

    begin: tuple[Length, ...]
    end: tuple[Length, ...]
    text: str


@attrs.frozen
class PhysicalExtent:
    """An extent in units of length; see :class:`PhysicalRoi`."""

    lengths: tuple[Length, ...]
    text: str


def parse_roi(roi: Roi | PhysicalRoi | str | None) -> Roi | PhysicalRoi | None:
    """Return a region that may be given as text; None, for no region, stays None.

    >>> parse_roi("[0:400, 0:1000, 200:1200]")
    [0:400, 0:1000, 200:1200] (400, 1000, 1000)

    Args:
        roi: The region, or ``begin:end`` for each axis: either integers, which are world units, or lengths with a unit,
            such as ``0:1.5um``, where the unit of the end is also that of a begin without one.

    Raises:
        RoiError: If the text does not have this form, or the region is empty.
    """
    if roi is None or isinstance(roi, Roi | PhysicalRoi):
        return roi
    limits = [_pair(*groups) for groups in re.findall(_AXIS, roi)] if isinstance(roi, str) else []
    if not isinstance(roi, str) or not _ROI.fullmatch(roi) or not _has_one_kind([n for pair in limits for n in pair]):
        raise RoiError(
            f"{roi!r} is not begin:end per axis in world units, such as [0:400,0:1000,200:1200], or in lengths, such "
            "as [0:1.5um,0:524nm,0:524nm]"
        )
    if not all(begin.value < end.value or begin.unit != end.unit for begin, end in limits):
        raise RoiError(f"{roi!r} is empty: each axis needs an end beyond its begin")
    if limits[0][0].unit:
        return PhysicalRoi(tuple(begin for begin, _ in limits), tuple(end for _, end in limits), roi)
    begins, ends = ([int(limit[side].value) for limit in limits] for side in (0, 1))
    return Roi(begins, Coordinate(ends) - Coordinate(begins))


def parse_extent(extent: Coordinate | PhysicalExtent | str | None) -> Coordinate | PhysicalExtent | None:
    """Return an extent that may be given as text, such as ``[400,1000,1000]``; None stays None.

    Numbers are read as in :func:`parse_roi`.

    Raises:
        RoiError: If the text does not have this form.
    """
    if extent is None or isinstance(extent, Coordinate | PhysicalExtent):
        return extent
    numbers = re.findall(_NUMBER, extent) if isinstance(extent, str) else []
    lengths = tuple(Length(Fraction(number), unit) for number, unit in numbers)
    if (
        not isinstance(extent, str)
        or not _EXTENT.fullmatch(extent)
        or not _has_one_kind(lengths)
        or any(length.value < 0 for length in lengths)
    ):
        raise RoiError(
            f"{extent!r} is not an extent per axis in world units, such as [400,1000,1000], or in lengths, such as "
            "[524nm,1um,1um]"
        )
    return PhysicalExtent(lengths, extent) if lengths[0].unit else Coordinate(int(length.value) for length in lengths)


def _pair(begin: str, begin_unit: str, end: str, end_unit: str) -> tuple[Length, Length]:
    return Length(Fraction(begin), begin_unit or end_unit), Length(Fraction(end), end_unit)


def _has_one_kind(lengths: Sequence[Length]) -> bool:
    """Return whether all numbers have a unit, or all are integers without one."""
    return all(length.unit for length in lengths) or all(
        not length.unit and length.value.denominator == 1 for length in lengths
    )
