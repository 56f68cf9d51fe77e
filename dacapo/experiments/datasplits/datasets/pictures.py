"""Pictures of datasets, with matplotlib (the extra ``dacapo[plot]``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import RoiError
from dacapo.utils.drawing import draw_scale_bar, new_figure, style, without_ticks

from .arrays import Array
from .arrays.sections import in_words, plane, section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .dataset import Dataset

MOST = 12
"""Most datasets in one picture."""
OVERLAY = 0.45
COLUMNS = ("Raw", "Truth", "Truth over raw", "Mask")


def plot_datasets(datasets: Sequence[tuple[str, Dataset]], position: float | None = None) -> Figure:
    """Return a picture with a row for each dataset: a section of raw data, truth, both, and the mask.

    Args:
        datasets: What to call each, and the dataset.
        position: Where to cut, in world units along the first axis, as :meth:`Dataset.plot` takes it.
    """
    shown = datasets[:MOST]
    columns = [name for name, role in zip(COLUMNS, ("raw", "gt", "gt", "mask"), strict=True) if _any(shown, role)]
    with style():
        figure = new_figure(3.2 * len(columns), 3.5 * max(len(shown), 1))
        panels: Any = figure.subplots(len(shown), len(columns), squeeze=False)
        for row, (name, dataset) in zip(panels, shown, strict=True):
            _draw_row(dict(zip(columns, row, strict=True)), name, dataset, position)
        if len(datasets) > MOST:
            figure.suptitle(f"{MOST} of {len(datasets)} datasets")
        return figure


def _any(datasets: Sequence[tuple[str, Dataset]], role: str) -> bool:
    return any(getattr(dataset, role) is not None for _, dataset in datasets)


def _draw_row(panels: dict[str, Any], name: str, dataset: Dataset, position: float | None) -> None:
    raw = dataset.raw
    roi = cut(dataset.gt if dataset.gt is not None else raw, position)
    labeled, masked = dataset.gt is not None, dataset.mask is not None
    gray = plane(raw, roi)
    voxel = raw.voxel_size
    with_world = {"extent": _extent(gray.shape), "interpolation": "nearest", "aspect": voxel[-2] / voxel[-1]}
    low, high = np.percentile(gray, (0.5, 99.5))
    for title, panel in panels.items():
        is_there = {"Raw": True, "Mask": masked}.get(title, labeled)
        without_ticks(panel, title if is_there else f"no {title.split()[0].lower()}")
        if title in ("Raw", "Truth over raw") and is_there:
            panel.imshow(gray, cmap="gray", vmin=low, vmax=high, **with_world)
        if title == "Truth over raw" and dataset.gt is not None:
            panel.imshow(_labels(dataset.gt, roi), alpha=OVERLAY * (plane(dataset.gt, roi) > 0), **with_world)
        elif title == "Truth" and dataset.gt is not None:
            panel.imshow(_labels(dataset.gt, roi), **with_world)
        elif title == "Mask" and dataset.mask is not None:
            panel.imshow(plane(dataset.mask, roi) > 0, cmap="gray", vmin=0, vmax=1, **with_world)
    unit = raw.units[-1] if raw.units else "voxels"
    width = raw.world.in_units(voxel)[-1] if raw.units else 1
    draw_scale_bar(panels["Raw"], gray.shape, float(width), unit)
    panels["Raw"].set_ylabel(f"{name}\n{in_words(raw, roi).split(', y')[0]}" if raw.dims == 3 else name)


def _labels(array: Array, roi: Roi) -> Any:
    from dacapo.utils.images import label_image

    return label_image(plane(array, roi))


def _extent(shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """Return where an image is drawn, so that images of other voxel sizes lie over it."""
    rows, columns = shape
    return -0.5, columns - 0.5, rows - 0.5, -0.5


def cut(array: Array, position: float | None) -> Roi:
    """Return a section through an array: at a position along the first axis, or where most is labeled.

    Raises:
        RoiError: If the position lies outside of the array.
    """
    roi = section(array)
    if position is None or array.dims < 3:
        return roi
    step = array.voxel_size[0]
    begin, end = array.roi.begin[0], array.roi.end[0]
    if not begin <= position < end:
        raise RoiError(
            f"position {position:g} is outside of {array}, which spans {begin} to {end} along its first axis"
        )
    first = begin + int((position - begin) // step) * step
    return Roi(Coordinate((first, *roi.begin[1:])), roi.shape)
