"""Arrays as NumPy and xarray have them: indexed by voxels, and read as a whole."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dacapo.errors import MemoryBudgetError, RoiError
from dacapo.utils.memory import available_memory, format_size

from .axes import spatial_axes_of
from .voxel_reader import VoxelReader
from .world import World

if TYPE_CHECKING:
    import xarray as xr
    from funlib.geometry import Coordinate

    from .array import Array

Read = Callable[[Any, Any], np.ndarray[Any, Any]]


def indexed_by_voxels(read: Read) -> Read:
    """Let a method that reads a roi take indices of voxels too: integers, slices, an ellipsis, and tuples of them."""

    @functools.wraps(read)
    def read_roi_or_voxels(self: Any, index: Any) -> np.ndarray[Any, Any]:
        return VoxelReader(self)[_checked(self, index)] if _is_of_voxels(index) else read(self, index)

    return read_roi_or_voxels


def _is_of_voxels(index: Any) -> bool:
    plain = (int, np.integer, slice, type(Ellipsis), tuple, list, np.ndarray, bool, np.bool_, type(None), str)
    return isinstance(index, plain) and not hasattr(index, "offset")


def _checked(array: Array, index: Any) -> Any:
    """Return an index of voxels.

    Raises:
        RoiError: If it picks voxels one by one, or adds axes.
    """
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, bool | np.bool_ | list | np.ndarray | str | tuple) or part is None:
            raise RoiError(
                f"{array} cannot be indexed by {_in_words(part)}; index it by a roi in world units, or by integers and "
                "slices in voxels, and use other indices on what that returns: array[0:10][mask]"
            )
    return index


def _in_words(part: Any) -> str:
    if isinstance(part, np.ndarray):
        return f"an array of {part.dtype}"
    return "None, which adds an axis" if part is None else f"a {type(part).__name__}"


def array_facts(array: Array) -> list[tuple[str, str]]:
    """Return what is known of an array without reading voxels, as pairs of a name and a text."""
    reader = VoxelReader(array)
    return [
        ("axes", " ".join(array.axes)),
        ("shape", str(reader.shape)),
        ("dtype", str(reader.dtype)),
        ("voxel size", f"{tuple(array.spacing)} {_units_of(array)}".rstrip()),
        ("roi", str(array.roi) if array.world.parts == 1 else f"{array.roi} in {array.world}"),
    ]


def _units_of(array: Array) -> str:
    different = sorted(set(array.units))
    return different[0] if len(different) == 1 else f"({', '.join(unit or '-' for unit in array.units)})"


def read_whole(array: Array) -> npt.NDArray[Any]:
    """Read all voxels of an array.

    Raises:
        MemoryBudgetError: If they need more memory than is available.
    """
    check_memory(array)
    return np.asarray(array[array.roi])


def check_memory(array: Array) -> None:
    """Raise an error if all voxels of an array need more memory than is available."""
    reader = VoxelReader(array)
    size, free = math.prod(reader.shape) * reader.dtype.itemsize, available_memory()
    if free is not None and size > free:
        raise MemoryBudgetError(
            f"{array} has {format_size(size)}, and {format_size(free)} of memory are available; read a part of it, as "
            "by array[0:10] in voxels or array[roi] in world units, or take array.data, which is read when it is sliced"
        )


def to_xarray(array: Array, lazy: bool) -> xr.DataArray:
    """Return an array as an xarray; see :meth:`.Array.to_xarray`."""
    values: Any
    if lazy:
        from dacapo.ext import optional_module

        dask = optional_module("dask.array", "lazy arrays need dask")
        values = dask.from_array(VoxelReader(array), chunks=array.chunk_shape or "auto", asarray=True)
    else:
        values = read_whole(array)
    made = as_dataarray(values, array.axes, array.roi.offset, array.voxel_size, array.world)
    return made.rename(array.name or None).assign_attrs(array.attrs)


def as_dataarray(
    values: Any,
    axes: list[str],
    offset: Coordinate,
    voxel_size: Coordinate,
    world: World,
    names: dict[str, Any] | None = None,
) -> xr.DataArray:
    """Return values as an xarray with the positions of voxels as coordinates, in the unit of the world.

    Args:
        values: The values.
        axes: Their axes.
        offset: In world units.
        voxel_size: In world units.
        world: What world units are.
        names: Other names of axes.
    """
    import xarray as xr

    dims = [(names or {}).get(axis, axis) for axis in axes]
    coordinates = {}
    spatial = spatial_axes_of(axes)
    begin, step = world.in_units(offset), world.in_units(voxel_size)
    for number, axis in enumerate(spatial):
        length = values.shape[axes.index(axis)]
        dim, unit = dims[axes.index(axis)], world.units[number]
        positions = begin[number] + step[number] * np.arange(length)
        coordinates[dim] = (dim, positions, {"units": unit} if unit else {})
    return xr.DataArray(values, dims=dims, coords=coordinates)
