"""Axes, voxel size, offset and units in TIFF files: those of OME, of ImageJ, and the resolution tags."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from typing import Any

from dacapo.errors import MetadataError

from .metadata import Candidates

# What tifffile calls axes; all other letters are pages in sequence.
_NAMES = {"T": "t", "C": "c", "S": "c", "Z": "z", "Y": "y", "X": "x"}
_PER_INCH, _PER_CENTIMETER = 2, 3


def tiff_candidates(where: str, file: Any, series: Any) -> Candidates:
    """Return the metadata of an image in a TIFF file.

    Args:
        where: The file, for messages.
        file: The file, opened by tifffile.
        series: The image.

    Raises:
        MetadataError: If it is damaged.
    """
    found = Candidates()
    names = _axes(series.axes)
    if names is not None:
        found.axes.append(("axes", names))
    axes = names or []
    if file.is_ome:
        _ome(where, file.ome_metadata, axes, found)
    elif file.is_imagej:
        _imagej(file.imagej_metadata or {}, file.pages[0].tags, axes, found)
    else:
        _resolution(file.pages[0].tags, axes, found)
    return found


def _axes(letters: str) -> list[str] | None:
    """Return the names of axes; None if they are not clear."""
    names = [_NAMES.get(letter, "z") for letter in letters]
    return names if len(set(names)) == len(names) else None


def _spatial(axes: list[str], by_name: Mapping[str, Any], other: Any) -> list[Any]:
    """Return a value for each axis of the data; axes without extent in the world get another one."""
    return [by_name.get(axis, other) for axis in axes]


def _ome(where: str, text: str, axes: list[str], found: Candidates) -> None:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # a few entities can stand for more text than fits into memory
        raise MetadataError(f"{where}: its OME metadata declares a document type or entities, which OME has none of")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  # there are no entities
    except ElementTree.ParseError as error:
        raise MetadataError(f"{where}: its OME metadata is not valid XML: {error}") from error
    pixels = next((node for node in root.iter() if node.tag.endswith("}Pixels")), None)
    if pixels is None or not axes:
        return
    stated = {axis: pixels.get(f"PhysicalSize{axis.upper()}") for axis in "zyx"}
    units = {axis: pixels.get(f"PhysicalSize{axis.upper()}Unit", "µm") for axis in "zyx"}
    spatial = [axis for axis in axes if axis in "zyx"]
    sizes = {axis: float(size) for axis, size in stated.items() if size is not None and _is_number(size)}
    if all(axis in sizes for axis in spatial):
        found.voxel_size.append(("PhysicalSize", _spatial(axes, sizes, 1)))
        found.units.append(("PhysicalSizeUnit", _spatial(axes, units, "")))
    plane = next((node for node in pixels.iter() if node.tag.endswith("}Plane")), None)
    places = {axis: plane.get(f"Position{axis.upper()}") for axis in "zyx"} if plane is not None else {}
    same = plane is not None and all(
        plane.get(f"Position{axis.upper()}Unit", "reference frame") == units[axis] for axis in spatial
    )
    if same and all(_is_number(places.get(axis)) for axis in spatial):
        # Positions are those of the first plane, which is the corner of the volume.
        found.offset.append(("Position", _spatial(axes, {axis: float(places[axis] or 0) for axis in spatial}, 0)))


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and math.isfinite(float(text))
    except ValueError:
        return False


def _imagej(said: Mapping[str, Any], tags: Any, axes: list[str], found: Candidates) -> None:
    unit = _imagej_unit(str(said.get("unit", "")))
    y, x = _voxels_per_unit(tags)
    if not unit or y is None or x is None:
        return
    sizes = {"y": _size(y), "x": _size(x), "z": float(said.get("spacing", 1.0))}
    if axes:
        found.voxel_size.append(("resolution and spacing", _spatial(axes, sizes, 1)))
        found.units.append(("unit", _spatial(axes, dict.fromkeys("zyx", unit), "")))


def _imagej_unit(unit: str) -> str:
    """Return a unit; ImageJ escapes characters, and calls pixels a unit."""
    plain = unit.replace("\\u00B5", "µ").strip()
    return "" if plain.lower() in ("", "pixel", "pixels", "px") else plain


def _voxels_per_unit(tags: Any) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    pairs = [tags[name].value if name in tags else None for name in ("YResolution", "XResolution")]
    y, x = (pair if isinstance(pair, tuple) and len(pair) == 2 and min(pair) > 0 else None for pair in pairs)
    return y, x


def _size(voxels_per_unit: tuple[int, int]) -> float:
    # Resolutions are rounded fractions of 32 bits; ten digits are all that they hold.
    return float(f"{voxels_per_unit[1] / voxels_per_unit[0]:.6g}")


def _resolution(tags: Any, axes: list[str], found: Candidates) -> None:
    """Read the size of pixels in planes; the distance of planes is unknown then."""
    unit = int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 0
    factor = {_PER_INCH: 25400.0, _PER_CENTIMETER: 10000.0}.get(unit)
    y, x = _voxels_per_unit(tags)
    # Programs write 72 or 96 pixels per inch without meaning it.
    if unit != _PER_CENTIMETER or factor is None or y is None or x is None or set(axes) - set("cyx"):
        return
    sizes = {"y": factor * _size(y), "x": factor * _size(x)}
    found.voxel_size.append(("resolution", _spatial(axes, sizes, 1)))
    found.units.append(("resolution", _spatial(axes, dict.fromkeys("yx", "um"), "")))
