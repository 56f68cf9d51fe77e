"""Look at arrays in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from funlib.geometry import Roi

from dacapo.experiments.datasplits.datasets.arrays import Array, ArrayConfig
from dacapo.experiments.datasplits.datasets.arrays.given_values import config_given, is_place, zarr_place
from dacapo.experiments.datasplits.datasets.arrays.slice_viewer import SliceViewer
from dacapo.experiments.datasplits.datasets.arrays.view import build
from dacapo.experiments.datasplits.datasets.arrays.world import common_unit


def show_slices(
    raw: Any,
    labels: Any = None,
    *,
    roi: Roi | None = None,
    channel: int | Sequence[int] = 0,
    axes: Sequence[str] | None = None,
    voxel_size: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    unit: str | None = None,
) -> SliceViewer:
    """Return sections of a volume to leaf through in a notebook, with labels over them.

    Args:
        raw: The image: an array of dacapo, NumPy, xarray, dask or zarr, a path or URL, or the config of an array. Of
            NumPy, axes are (z, y, x), or (y, x).
        labels: Labels to lay over it, in any of these forms; 0 is transparent. Those of NumPy that have the shape of
            ``raw`` lie where it lies.
        roi: The region to show, in world units; by default the middle.
        channel: The channel of ``raw`` to show, or three of them as red, green and blue, such as those of affinities.
        axes: Names of the axes of ``raw``, in place of what it says.
        voxel_size: Per spatial axis, in the unit, in place of what the arrays say.
        offset: Corner of the first voxel, likewise.
        unit: Such as ``nm``; for arrays in memory.

    Raises:
        ArrayNotFoundError: If nothing exists at a path.
        MetadataError: If the axes of an array are unknown.
        ConfigError: If the arrays differ in their axes, or do not overlap; if ``raw`` has no such channel.
        RoiError: If the region is no ``Roi`` of as many axes.
    """
    place = {"voxel_size": voxel_size, "offset": offset, "unit": unit}
    image = _given(raw, "raw", {**place, "axes": axes})
    if isinstance(labels, np.ndarray) and voxel_size is None and offset is None:
        place = _place_of(_built(image), labels.shape) or place
    overlay = None if labels is None else _given(labels, "labels", place)
    return SliceViewer(*_in_one_world(image, overlay), roi, channel)


def _place_of(raw: Array, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the place of an image for labels of the same shape, which have none of their own."""
    if tuple(raw.roi.shape / raw.voxel_size) != shape:
        return {}
    return {"voxel_size": raw.spacing, "offset": raw.world.in_units(raw.roi.offset), "unit": raw.units[0]}


def _given(array: Any, name: str, metadata: dict[str, Any]) -> Array | ArrayConfig:
    if isinstance(array, Array):
        return array
    if is_place(zarr_place(array)):
        if name == "labels" and isinstance(array, ArrayConfig):
            return array
        return config_given(array, name, **(metadata if name == "raw" else {**metadata, "unit": None}))
    named = metadata.get("axes") is not None
    # Without names, the first axis of three could be that of channels.
    ndim = getattr(array, "ndim", None)
    return config_given(array, name, dims=ndim if ndim in (2, 3) and not named else None, **metadata)


def _in_one_world(raw: Array | ArrayConfig, labels: Array | ArrayConfig | None) -> tuple[Array, Array | None]:
    """Return the arrays, with world coordinates that count the same."""
    image, overlay = _built(raw), None if labels is None else _built(labels)
    unit = None if overlay is None else common_unit([image.world, overlay.world])
    if unit is None or not isinstance(raw, ArrayConfig) or not isinstance(labels, ArrayConfig):
        return image, overlay
    return _built(raw.counted_in(unit)), _built(labels.counted_in(unit))


def _built(array: Array | ArrayConfig) -> Array:
    return array if isinstance(array, Array) else build(array)
