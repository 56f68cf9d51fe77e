"""Parse regions and extents in world units."""

from __future__ import annotations

import re

from funlib.geometry import Coordinate, Roi

from dacapo.errors import RoiError

_AXIS = r"\s*(-?\d+)\s*:\s*(-?\d+)\s*"
_AXES = rf"{_AXIS}(?:,{_AXIS})*"
_ROI = re.compile(rf"\s*(?:\[{_AXES}\]|{_AXES})\s*")
_NUMBERS = r"\s*\d+\s*(?:,\s*\d+\s*)*,?\s*"
_EXTENT = re.compile(rf"\s*(?:\[{_NUMBERS}\]|\({_NUMBERS}\)|{_NUMBERS})\s*")


def parse_roi(roi: Roi | str | None) -> Roi | None:
    """Return a region that may be given as text; None, for no region, stays None.

    >>> parse_roi("[0:400, 0:1000, 200:1200]")
    [0:400, 0:1000, 200:1200] (400, 1000, 1000)

    Args:
        roi: The region, or ``begin:end`` for each axis in world units.

    Raises:
        RoiError: If the text does not have this form, or the region is empty.
    """
    if roi is None or isinstance(roi, Roi):
        return roi
    if not isinstance(roi, str) or not _ROI.fullmatch(roi):
        raise RoiError(f"{roi!r} is not begin:end per axis in world units, such as [0:400,0:1000,200:1200]")
    limits = [(int(begin), int(end)) for begin, end in re.findall(_AXIS, roi)]
    if not all(begin < end for begin, end in limits):
        raise RoiError(f"{roi!r} is empty: each axis needs an end beyond its begin")
    return Roi([begin for begin, _ in limits], [end - begin for begin, end in limits])


def parse_extent(extent: Coordinate | str | None) -> Coordinate | None:
    """Return an extent that may be given as text, such as ``[400,1000,1000]``; None stays None.

    Raises:
        RoiError: If the text does not have this form.
    """
    if extent is None or isinstance(extent, Coordinate):
        return extent
    if not isinstance(extent, str) or not _EXTENT.fullmatch(extent):
        raise RoiError(f"{extent!r} is not an extent per axis in world units, such as [400,1000,1000]")
    return Coordinate(int(number) for number in re.findall(r"\d+", extent))
