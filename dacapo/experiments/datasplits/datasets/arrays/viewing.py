"""Show arrays in neuroglancer, in place and without copying them."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dacapo.errors import DtypeError
from dacapo.ext import optional_module

from .axes import NON_SPATIAL_AXES
from .voxel_reader import VoxelReader
from .world import long_name

if TYPE_CHECKING:
    from .array import Array

# Integers of these widths are labels; everything else is shown as an image.
LABEL_BYTES = 4

# Types that the viewer does not support, and the types to convert them to.
SHOWN_AS: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(bool): np.dtype(np.uint8),
    np.dtype(np.float16): np.dtype(np.float32),
}


_VIEWER_UNITS = {
    "picometer": "pm",
    "nanometer": "nm",
    "micrometer": "um",
    "millimeter": "mm",
    "meter": "m",
    "second": "s",
}


def require_neuroglancer() -> ModuleType:
    """Return neuroglancer.

    Raises:
        MissingDependencyError: If it is not installed.
    """
    return optional_module("neuroglancer", "showing arrays needs neuroglancer")


def is_shown_as_labels(dtype: npt.DTypeLike) -> bool:
    """Return whether values of a type are shown as a segmentation: true for unsigned integers of 32 and 64 bits."""
    kind = np.dtype(dtype)
    return kind.kind == "u" and kind.itemsize >= LABEL_BYTES


def neuroglancer_source(array: Array, unit: str | None = None, labels: bool | None = None) -> Any:
    """Return a ``neuroglancer.LocalVolume`` that shows an array at its position in the world.

    Add it to a viewer with ``state.layers[name] = source``.

    Args:
        array: The array to show; voxels are read on demand.
        unit: Unit of the world, by default that of the array, or nanometers if it has none.
        labels: Whether to show a segmentation instead of an image; by default true for unsigned integers of 32 and 64
            bits.

    Raises:
        MissingDependencyError: If neuroglancer is not installed.
        DtypeError: If values that are not integers are to be shown as labels.
    """
    neuroglancer = require_neuroglancer()
    labels = is_shown_as_labels(array.dtype) if labels is None else labels
    voxel_size, offset = iter(array.spacing), iter(array.roi.offset / array.voxel_size)
    units = iter([viewer_unit(own) for own in array.units] if unit is None else [unit] * array.dims)
    dimensions: dict[str, tuple[int | float, str]] = {}
    voxel_offset = []
    for axis in array.axes:
        if axis in NON_SPATIAL_AXES:
            dimensions[f"{axis}^"] = (1, "")
            voxel_offset.append(0)
        else:
            dimensions[axis] = (next(voxel_size), next(units))
            voxel_offset.append(int(next(offset)))
    return neuroglancer.LocalVolume(
        VoxelReader(array, _shown_type(array, labels)),
        dimensions=neuroglancer.CoordinateSpace(
            names=list(dimensions),
            units=[unit_ for _, unit_ in dimensions.values()],
            scales=[scale for scale, _ in dimensions.values()],
        ),
        voxel_offset=voxel_offset,
        volume_type="segmentation" if labels else "image",
    )


def viewer_unit(unit: str) -> str:
    """Return the name of a unit in neuroglancer; nanometers for one that it does not know.

    >>> viewer_unit("micrometer"), viewer_unit("")
    ('um', 'nm')
    """
    return _VIEWER_UNITS.get(long_name(unit), "nm")


def _shown_type(array: Array, labels: bool) -> np.dtype[Any]:
    kind = np.dtype(array.dtype)
    if not labels:
        return SHOWN_AS.get(kind, kind)
    if kind.kind not in "bui":
        raise DtypeError(f"{array} has values of type {kind}, which cannot be labels; show it as an image")
    return np.dtype(np.uint64 if kind.itemsize > LABEL_BYTES else np.uint32)


def neuroglancer_layer(array: Array, source: Any = None, meshes: bool = False, labels: bool | None = None) -> Any:
    """Return a layer that shows an array: a ``SegmentationLayer`` for labels, else an ``ImageLayer``.

    Args:
        array: The array to show.
        source: Source of the voxels; by default this process.
        meshes: Whether to also show surfaces of selected labels, which reads the whole array.
        labels: Whether to show labels; by default as in :func:`neuroglancer_source`.

    Raises:
        MissingDependencyError: If neuroglancer is not installed.
        DtypeError: If values that are not integers are to be shown as labels.
    """
    neuroglancer = require_neuroglancer()
    labels = is_shown_as_labels(array.dtype) if labels is None else labels
    source = neuroglancer_source(array, labels=labels) if source is None else source
    if not labels:
        return neuroglancer.ImageLayer(source=source)
    if not meshes and isinstance(source, neuroglancer.LocalVolume):
        source = neuroglancer.LayerDataSource(url=source, enable_default_subsources=False, subsources={"default": True})
    return neuroglancer.SegmentationLayer(source=source)


def labels_layer(array: Array) -> Any:
    """Return a layer that shows an array of any integer type without channels as labels, any other as usual.

    Raises:
        MissingDependencyError: If neuroglancer is not installed.
    """
    narrow = np.dtype(array.dtype).kind in "bui" and not is_shown_as_labels(array.dtype)
    if narrow and array.channel_axis is None:
        return neuroglancer_layer(array, labels=True)
    return array._neuroglancer_layer()


def open_viewer(layers: Mapping[str, Any]) -> Any:
    """Return a new neuroglancer viewer with some layers. It lives as long as it is referenced.

    Args:
        layers: By name, in the order of the list in the viewer. The viewer prints as its address.

    Raises:
        MissingDependencyError: If neuroglancer is not installed.
    """
    viewer = require_neuroglancer().Viewer()
    with viewer.txn() as state:
        for name, layer in layers.items():
            state.layers.append(name=name, layer=layer)
    return viewer


def embed(viewer: Any, width: int = 1500, height: int = 600) -> Any:
    """Return an object that shows a viewer inside a notebook.

    Args:
        viewer: The viewer, kept as the attribute ``viewer`` of the result.
        width: In pixels.
        height: In pixels.

    Raises:
        MissingDependencyError: If IPython is not installed.
    """
    display = optional_module("IPython.display", "showing a viewer in a notebook needs IPython")
    frame = display.IFrame(viewer.get_viewer_url(), width=width, height=height)
    frame.viewer = viewer
    return frame
