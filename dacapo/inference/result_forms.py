"""Results for arrays in memory, in the form in which the array was given."""

from __future__ import annotations

from typing import Any

from funlib.geometry import Coordinate

from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.datasplits.datasets.arrays.as_numpy import as_dataarray as as_dataarray
from dacapo.experiments.datasplits.datasets.arrays.axes import spatial_axes_of
from dacapo.experiments.datasplits.datasets.arrays.given_values import is_channel_axis, is_xarray

_ORDER = ("c", "z", "y", "x")


def in_order(data: Any) -> Any:
    """Return an xarray with its axes in the order c, z, y, x if these are their names; anything else unchanged."""
    if not is_xarray(data) or not set(map(str, data.dims)) <= set(_ORDER):
        return data
    return data.transpose(*sorted(data.dims, key=_ORDER.index))


def as_given(values: Any, axes: list[str], result: tuple[Coordinate, Coordinate], data: Any, raw: Array) -> Any:
    """Return a result as NumPy or dask has it, or, if an xarray was given, as one with its coordinates and attributes.

    Args:
        values: The result, with channels first if it has any.
        axes: Its axes.
        result: Offset and voxel size of the result, in the world of ``raw``.
        data: What was given.
        raw: The array that was made of it.
    """
    if not is_xarray(data):
        return values
    names = dict(zip(spatial_axes_of(raw.axes), _spatial_dims(in_order(data)), strict=True))
    made = as_dataarray(values, axes, *result, raw.world, names)
    kept = {name: coordinate for name, coordinate in data.coords.items() if not coordinate.dims}
    for dim in names.values():
        if dim not in data.coords:  # where xarray would make up positions
            made = made.drop_vars(dim)
            continue
        own = data.coords[dim]
        if result == (raw.roi.offset, raw.voxel_size) and made.sizes[dim] == data.sizes[dim]:
            kept[dim] = own  # exactly the same
        else:
            made[dim].attrs.update(own.attrs)
    made = made.assign_coords(kept).assign_attrs(data.attrs)
    order = [dim for dim in made.dims if dim not in names.values()]
    return made.transpose(*order, *_spatial_dims(data)).rename(data.name)


def _spatial_dims(data: Any) -> list[Any]:
    return [dim for dim in data.dims if not is_channel_axis(dim)]
