"""Show arrays of any kind in a viewer of neuroglancer, each in a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError

from .array import Array
from .numpy_array import NumpyArray
from .viewing import embed, is_shown_as_labels, neuroglancer_layer, open_viewer

Shown = Array | npt.NDArray[Any]


def get_viewer(arrays: dict[str, Any], width: int = 1500, height: int = 600, headless: bool = True) -> Any:
    """Return a new viewer that shows some arrays.

    Args:
        arrays: By the name of the layer, the array, or a mapping with ``array`` and optional entries: ``is_seg``,
            whether to show labels (by default true for unsigned integers of 32 and 64 bits); ``meshes``, whether to
            show surfaces of selected labels; ``voxel_size`` of a numpy array, in nanometers, 1 by default.
        width: Width of the frame in a notebook, in pixels.
        height: Height of the frame in a notebook, in pixels.
        headless: Whether to return the viewer. Otherwise return a frame that shows it in a notebook and keeps it alive.

    Raises:
        ConfigError: If a mapping has no ``array``, or has unknown entries.
        MissingDependencyError: If neuroglancer is not installed, or IPython for a frame.
    """
    items = {name: _item(name, value) for name, value in arrays.items()}
    viewer = open_viewer({})
    with viewer.txn() as state:
        for name, item in items.items():
            data, voxel_size = item["array"], item.get("voxel_size")
            if item.get("is_seg", is_shown_as_labels(data.dtype)):
                add_seg_layer(state, name, data, voxel_size, meshes=item.get("meshes", False))
            else:
                add_scalar_layer(state, name, data, voxel_size)
    return viewer if headless else embed(viewer, width, height)


def _item(name: str, value: Any) -> Mapping[str, Any]:
    item = value if isinstance(value, Mapping) else {"array": value}
    known = ("array", "is_seg", "meshes", "voxel_size")
    if not isinstance(item.get("array"), (Array, np.ndarray)) or not set(item) <= set(known):
        raise ConfigError(f"{name} is {value!r}; expected an array, or a mapping of {', '.join(known)}")
    return item


def add_seg_layer(state: Any, name: str, data: Shown, voxel_size: Sequence[int] | None, meshes: bool = False) -> None:
    """Add a layer of labels to the state of a viewer; a layer of the same name is replaced.

    Args:
        state: The state of ``viewer.txn()``.
        name: Name of the layer.
        data: Integers; the last axes are those of the voxel size.
        voxel_size: In nanometers; may be None for an array of this package, which knows its own.
        meshes: Whether to show surfaces of selected labels, which reads all data.

    Raises:
        ConfigError: If the voxel size does not match the data.
        DtypeError: If values are not integers.
    """
    state.layers[name] = neuroglancer_layer(_placed(name, data, voxel_size), meshes=meshes, labels=True)


def add_scalar_layer(state: Any, name: str, data: Shown, voxel_size: Sequence[int] | None) -> None:
    """Add an image to the state of a viewer; the arguments are those of :func:`add_seg_layer`."""
    state.layers[name] = neuroglancer_layer(_placed(name, data, voxel_size), labels=False)


def _placed(name: str, data: Shown, voxel_size: Sequence[int] | None) -> Array:
    """Return data as an array with a position in the world; numpy arrays begin at 0."""
    if isinstance(data, Array):
        if voxel_size is not None and Coordinate(voxel_size) != data.voxel_size:
            raise ConfigError(f"{name}: voxel size is {tuple(voxel_size)}, but that of {data} is {data.voxel_size}")
        return data
    size = Coordinate(voxel_size if voxel_size is not None else (1,) * min(data.ndim, 3))
    if not 0 <= data.ndim - size.dims <= 1 or not 1 <= size.dims <= 3 or min(size) <= 0:
        raise ConfigError(
            f"{name}: data of shape {data.shape} does not fit a voxel size of {size}; expected one number above 0 for "
            "each axis, except a leading channel axis"
        )
    axes = ["c", "z", "y", "x"][-size.dims :] if data.ndim == size.dims else ["c", *["z", "y", "x"][-size.dims :]]
    shape = Coordinate(data.shape[-size.dims :])
    return NumpyArray.from_np_array(data, Roi((0,) * size.dims, shape * size), size, axes)
