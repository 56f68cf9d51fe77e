"""Read the position of an array in the world from OME-NGFF multiscales on a group above it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from dacapo.errors import MetadataError

from .axes import NON_SPATIAL_AXES
from .metadata import Candidates
from .metadata_values import exact_values, list_of, name_by_type, spatial_part
from .world import length_of, long_name


def ome_candidates(where: str, multiscales: Any, path: str, found: Candidates) -> bool:
    """Collect the values of a group's OME-NGFF multiscales for the array at ``path`` below the group.

    Lengths are converted to the unit of the plain attributes collected before, or else to nanometers. The translation
    is read as the corner of the first voxel; see :func:`_corner` for levels that give the center instead.

    Returns:
        Whether the multiscales list the array.
    """
    for number, image in enumerate(multiscales if isinstance(multiscales, Sequence) else []):
        datasets = image.get("datasets", [])
        for dataset in datasets:
            if str(dataset.get("path", "")).strip("/") != path:
                continue
            transforms, first = (
                [*level.get("coordinateTransformations", []), *image.get("coordinateTransformations", [])]
                for level in (dataset, datasets[0])
            )
            _ome_image(where, f"multiscales[{number}]", image.get("axes"), transforms, first, found)
            return True
    return False


def _ome_image(
    where: str,
    key: str,
    axes: Any,
    transforms: Sequence[Mapping[str, Any]],
    first: Sequence[Mapping[str, Any]],
    found: Candidates,
) -> None:
    factors: list[Fraction] = []
    if axes is not None:
        described = [
            axis if isinstance(axis, Mapping) else {"name": axis} for axis in list_of(where, f"{key}/axes", axes)
        ]
        names = [name_by_type(str(axis.get("name")), axis.get("type")) for axis in described]
        found.axes.append((f"{key}/axes", names))
        units = [str(axis.get("unit") or "") for axis in described]
        bases = _base_units(where, names, units, found)
        lengths = [(length_of(unit), length_of(base)) for unit, base in zip(units, bases, strict=True)]
        factors = [Fraction(1) if a is None or b is None else a / b for a, b in lengths]
        found.units.append((f"{key}/axes", bases))
        found.shown.append((f"{key}/axes", [long_name(unit) for unit in units]))
    scale, translation = _corner(_compose(where, key, transforms), _compose(where, key, first))
    for kind, value, collected in (("scale", scale, found.voxel_size), ("translation", translation, found.offset)):
        if value is not None:
            name = f"{key}/coordinateTransformations/{kind}"
            collected.append((name, _multiply(where, name, value, factors)))


def _base_units(where: str, names: list[str], units: list[str], found: Candidates) -> list[str]:
    """Return the units in which to state values with the given units, by axis."""
    plain = [spatial_part(where, key, value, names) for key, value in found.units[:1]]
    stated = iter(plain[0] if plain else [])
    bases = []
    for name, unit in zip(names, units, strict=True):
        other = "" if name in NON_SPATIAL_AXES else next(stated, "")
        bases.append(unit if length_of(unit) is None else other if length_of(other) is not None else "nm")
    return bases


_Placed = tuple[list[Fraction] | None, list[Fraction] | None]


def _corner(level: _Placed, first: _Placed) -> _Placed:
    """Return scale and translation of a level, with the translation of the first level if both give centers.

    Averaging voxels of size a to voxels of size b keeps the corner and moves the first center by (b - a) / 2. If the
    translations differ by exactly that along all axes, the corners of both levels coincide.
    """
    (scale, translation), (first_scale, first_translation) = level, first
    if scale is None or translation is None or first_scale is None or first_translation is None:
        return level
    if not len(scale) == len(translation) == len(first_scale) == len(first_translation):
        return level
    pairs = zip(scale, translation, first_scale, first_translation, strict=True)
    # Numbers in files are rounded; ignore differences of a hundredth of a voxel.
    centered = all(abs((t - t0) - (s - s0) / 2) <= abs(s) / 100 for s, t, s0, t0 in pairs)
    return (scale, first_translation) if centered else level


def _multiply(where: str, key: str, value: list[Fraction], factors: list[Fraction]) -> list[Any]:
    if not factors:
        return value
    if len(value) != len(factors):
        raise MetadataError(f"{where}: {key} is {value}, expected one entry for each of the {len(factors)} axes")
    return [v * f for v, f in zip(value, factors, strict=True)]


def _compose(where: str, key: str, transforms: Sequence[Mapping[str, Any]]) -> _Placed:
    """Apply the transformations one after the other; each is a scale or a translation."""
    scale: list[Fraction] | None = None
    translation: list[Fraction] | None = None
    apply: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
        "scale": lambda a, b: a * b,
        "translation": lambda a, b: a + b,
    }
    for transform in transforms:
        kind = transform.get("type")
        if kind == "identity":
            continue
        if kind not in apply or kind not in transform:
            raise MetadataError(f"{where}: {key} has the unknown coordinate transformation {dict(transform)}")
        value = exact_values(where, f"{key}/{kind}", list_of(where, f"{key}/{kind}", transform[kind]))
        translation = _pairwise(where, key, translation, value, apply[kind], absent=kind == "translation")
        if kind == "scale":
            scale = _pairwise(where, key, scale, value, apply[kind], absent=True)
    if scale is not None and translation is None:
        translation = [Fraction(0)] * len(scale)
    return scale, translation


def _pairwise(
    where: str,
    key: str,
    have: list[Fraction] | None,
    value: list[Fraction],
    apply: Callable[[Fraction, Fraction], Fraction],
    absent: bool,
) -> list[Fraction] | None:
    """Combine two lists entry by entry; if the first is missing, the new one is the result if ``absent``."""
    if have is None:
        return value if absent else None
    if len(have) != len(value):
        raise MetadataError(f"{where}: {key} has coordinate transformations of {len(have)} and {len(value)} entries")
    return [apply(a, b) for a, b in zip(have, value, strict=True)]
