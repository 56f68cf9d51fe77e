"""Look at arrays in a notebook."""

from __future__ import annotations

from typing import Any

from funlib.geometry import Roi

from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.datasplits.datasets.arrays.given_values import config_given, is_place, zarr_place
from dacapo.experiments.datasplits.datasets.arrays.slice_viewer import SliceViewer
from dacapo.experiments.datasplits.datasets.arrays.view import build


def show_slices(
    raw: Any, labels: Any = None, *, roi: Roi | None = None, channel: int = 0, **metadata: Any
) -> SliceViewer:
    """Return sections of a volume to leaf through in a notebook, with labels over them.

    Args:
        raw: The image: an array of dacapo, NumPy, xarray, dask or zarr, a path or URL, or the config of an array. Of
            NumPy, axes are (z, y, x), or (y, x).
        labels: Labels to lay over it, in any of these forms; 0 is transparent.
        roi: The region to show, in world units; by default the middle.
        channel: The channel of ``raw`` to show.
        **metadata: ``axes``, ``voxel_size``, ``offset`` and ``unit``, in place of what arrays say; axes and unit are
            those of ``raw``, the others of both.

    Raises:
        ArrayNotFoundError: If nothing exists at a path.
        MetadataError: If the axes of an array are unknown.
        ConfigError: If the arrays differ in their axes, or do not overlap.
    """
    image = _opened(raw, "raw", metadata)
    shared = {key: value for key, value in metadata.items() if key in ("voxel_size", "offset")}
    return SliceViewer(image, None if labels is None else _opened(labels, "labels", shared), roi, channel)


def _opened(array: Any, name: str, metadata: dict[str, Any]) -> Array:
    if isinstance(array, Array):
        return array
    if not is_place(zarr_place(array)) and metadata.get("axes") is None and array.ndim in (2, 3):
        # Without names, the first axis of three could be that of channels.
        return build(config_given(array, name, dims=array.ndim, **metadata))
    return build(config_given(array, name, **metadata))
