"""Arrays as users have them: of NumPy, xarray, dask or zarr, with what they say about their place in the world."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from dacapo.errors import ConfigError, MetadataError
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.paths import is_upath

from .array import ArrayConfig
from .axes import axis_names, spatial_axes_of
from .memory_array import MemoryArrayConfig
from .opener import config_for

_CHANNELS = ("c", "channel", "channels")
_DIGITS = 10  # significant digits of coordinates, whose differences are not exact


@attrs.frozen
class GivenValues:
    """Values in memory, or lazy ones, and their place in the world.

    Attributes:
        values: Anything with a shape and a data type that slicing makes a NumPy array of.
        axes: Names of the axes, channels as ``c``.
        voxel_size: Per spatial axis, in the unit; None if nothing says it.
        offset: Corner of the first voxel, in the unit; None if nothing says it.
        unit: Of voxel size and offset; empty for pixels.
    """

    values: Any
    axes: list[str]
    voxel_size: list[float] | None = None
    offset: list[float] | None = None
    unit: str = ""

    @property
    def dims(self) -> int:
        """Number of spatial axes."""
        return len(spatial_axes_of(self.axes))


def is_place(array: Any) -> bool:
    """Return whether an array is given by its place, as a path, an identifier or a config, or by its values."""
    return isinstance(array, str | Path | LocalArrayIdentifier | ArrayConfig) or is_upath(array)


def config_given(
    array: Any,
    name: str,
    *,
    dims: int | None = None,
    axes: Sequence[str] | None = None,
    voxel_size: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    unit: str | None = None,
) -> ArrayConfig:
    """Return the config of an array in any form: a path or URL, a config, or values.

    Values are copied, and belong to this process; see :class:`.MemoryArrayConfig`. Those of a zarr array in files are
    read from there.

    Args:
        array: The array.
        name: Name for messages, if the array has none.
        dims: Number of spatial axes, if known; decides whether the first axis of values is that of channels.
        axes: Names of the axes, in place of what the array says.
        voxel_size: Per spatial axis, in the unit.
        offset: Corner of the first voxel, in the unit.
        unit: Such as ``nm``.

    Raises:
        ConfigError: If a config is given together with metadata.
        MetadataError: If the metadata of the values is incomplete or contradicts itself.
        ArrayNotFoundError: If nothing exists at the path.
    """
    given = {"axes": axes, "voxel_size": voxel_size, "offset": offset}
    overrides: dict[str, Any] = {key: list(value) for key, value in given.items() if value is not None}
    if isinstance(array, ArrayConfig):
        if overrides or unit:
            raise ConfigError(f"{', '.join(overrides) or 'unit'} is given beside the config {array.name!r}; change it")
        return array
    array = zarr_place(array)
    if is_place(array):
        if unit:
            raise ConfigError(f"a unit is given beside the path {array}, whose file says its unit; leave it out")
        place, dataset = (array.container, array.dataset) if isinstance(array, LocalArrayIdentifier) else (array, None)
        return config_for(place, dataset, **overrides)
    found = given_values(array, dims=dims, axes=axes, voxel_size=voxel_size, offset=offset, unit=unit)
    size = found.voxel_size or [1.0] * found.dims
    return MemoryArrayConfig.of(np.asarray(found.values), name, found.axes, size, found.offset, found.unit)


def is_xarray(array: Any) -> bool:
    """Return whether an array is one of xarray, which need not be imported for that."""
    return _package(array) == "xarray"


def is_dask(array: Any) -> bool:
    """Return whether an array is one of dask, which need not be installed for that."""
    return _package(array) == "dask"


def is_channel_axis(name: object) -> bool:
    """Return whether the name of an axis is one for channels."""
    return str(name).lower() in _CHANNELS


def _package(array: Any) -> str:
    return type(array).__module__.partition(".")[0]


def zarr_place(array: Any) -> Any:
    """Return the path of a zarr array in files; anything else unchanged."""
    if _package(array) != "zarr" or not hasattr(array, "store"):
        return array
    folder = getattr(array.store, "root", getattr(array.store, "path", None))  # version 3, and 2
    place = None if folder is None else Path(folder) / array.path
    return array if place is None or not place.exists() else place


def given_values(
    array: Any,
    *,
    dims: int | None = None,
    axes: Sequence[str] | None = None,
    voxel_size: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    unit: str | None = None,
) -> GivenValues:
    """Return values with what they and the arguments say about their place; the arguments are those of `config_given`.

    Axes without names are the last of z, y, x, after that of the channels. The coordinates of an xarray are the
    positions of voxels, evenly spaced.

    Raises:
        MetadataError: If the names of the axes are missing or do not fit, or coordinates are not evenly spaced.
    """
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        raise MetadataError(f"got a {type(array).__name__}; expected an array, such as one of NumPy, or a path")
    found = _of_xarray(array) if is_xarray(array) else GivenValues(array, _axes_of(array.shape, dims, axes))
    changes = {"voxel_size": voxel_size, "offset": offset}
    said: dict[str, Any] = {key: [float(v) for v in value] for key, value in changes.items() if value is not None}
    if unit is not None:
        said["unit"] = unit
    if axes is not None:
        said["axes"] = _known_axes(axis_names(axes), array.shape)
    return attrs.evolve(found, **said)


def _axes_of(shape: Sequence[int], dims: int | None, axes: Sequence[str] | None) -> list[str]:
    if axes is not None:
        return _known_axes(axis_names(axes), shape)
    dims = min(len(shape), 3) if dims is None else dims
    if len(shape) not in (dims, dims + 1) or dims not in (2, 3):
        expected = "2 or 3 spatial axes" if dims not in (2, 3) else f"{dims} spatial axes"
        raise MetadataError(
            f"an array of shape {tuple(shape)} has no known axes: expected {expected}, and an axis of channels "
            "before them if any; name all of them with axes, such as axes=['c', 'y', 'x']"
        )
    return [*["c"] * (len(shape) - dims), *["z", "y", "x"][3 - dims :]]


def _known_axes(names: list[str], shape: Sequence[int]) -> list[str]:
    names = ["c" if is_channel_axis(name) else name for name in names]
    if len(names) != len(shape) or len(set(names)) < len(names):
        raise MetadataError(f"axes {names} are given for an array of shape {tuple(shape)}; name each axis once")
    return names


def _of_xarray(array: Any) -> GivenValues:
    axes = _known_axes([str(dim) for dim in array.dims], array.shape)
    spatial = [dim for dim, axis in zip(array.dims, axes, strict=True) if axis != "c"]
    placed = [dim for dim in spatial if dim in array.coords]
    if not placed:
        return GivenValues(array.data, axes)
    lines = [_line(array.coords[dim].values, dim) if dim in placed else (1.0, 0.0) for dim in spatial]
    units = {str(array.coords[dim].attrs.get("units", array.coords[dim].attrs.get("unit", ""))) for dim in placed}
    if len(units) > 1:
        raise MetadataError(f"the coordinates are in {', '.join(sorted(units))}; expected one unit for all axes")
    return GivenValues(array.data, axes, [step for step, _ in lines], [begin for _, begin in lines], units.pop())


def _line(positions: Any, dim: object) -> tuple[float, float]:
    """Return the distance between coordinates, and the first one."""
    values = np.asarray(positions, dtype=np.float64)
    step = (values[-1] - values[0]) / (len(values) - 1) if len(values) > 1 else 1.0
    if step <= 0 or not np.allclose(np.diff(values), step, rtol=1e-3, atol=0):
        raise MetadataError(
            f"the coordinates along {dim!r} do not ascend evenly; interpolate the data to a regular grid first"
        )
    return float(f"{step:.{_DIGITS}g}"), float(f"{values[0]:.{_DIGITS}g}")
