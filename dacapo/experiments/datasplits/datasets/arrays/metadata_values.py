"""Single values in the attributes of an array: lists, names, and exact numbers per axis."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from dacapo.errors import MetadataError
from dacapo.utils.exact_numbers import exact

from .axes import NON_SPATIAL_AXES, axis_names, spatial_axes_of


def list_of(where: str, key: str, value: Any) -> list[Any]:
    """Return an attribute that has to be a list."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    raise MetadataError(f"{where}: {key} is {value!r}; expected a list with one entry per axis")


def names_of(where: str, key: str, value: Any) -> list[str]:
    """Return the names of axes, given as a list or as one word."""
    return axis_names(value if isinstance(value, str) else list_of(where, key, value))


def name_by_type(name: str, kind: Any) -> str:
    """Return the name of an axis, which depends on its type for channels and batch."""
    return {"channel": "c", "batch": "b"}.get(str(kind), name)


def spatial_part(where: str, key: str, value: Sequence[Any], axes: list[str]) -> list[Any]:
    """Keep the spatial entries of a sequence that has one entry per axis or per spatial axis."""
    dims = len(spatial_axes_of(axes))
    if len(value) == dims:
        return list(value)
    if len(value) == len(axes):
        return [v for axis, v in zip(axes, value, strict=True) if axis not in NON_SPATIAL_AXES]
    raise MetadataError(f"{where}: {key} is {list(value)}, {len(value)} entries for the axes {', '.join(axes)}")


def exact_values(where: str, key: str, value: Sequence[float]) -> list[Fraction]:
    """Return the numbers of an attribute, exactly; raise an error for any that is none, or inexact."""
    try:
        numbers = [exact(v) for v in value]
    except (TypeError, ValueError, OverflowError) as error:
        raise MetadataError(f"{where}: {key} is {list(value)}; expected numbers") from error
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers):
        raise MetadataError(
            f"{where}: {key} is {list(value)}, which is no decimal number of up to six digits and no simple fraction, "
            "so places would be inexact; correct the attribute"
        )
    return known
