"""Pictures of datasets, with matplotlib (the extra ``dacapo[plot]``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import RoiError
from dacapo.utils.drawing import draw_scale_bar, new_figure, say, style, without_ticks

from .arrays import Array
from .arrays.sections import in_words, plane, section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .dataset import Dataset

MOST = 12
"""Most datasets in one picture."""
OVERLAY = 0.45
WIDTH = 3.2
"""Width of a picture in inches."""
MASKED_IN, MASKED_OUT = np.array([[204], [34]], dtype=np.uint8) * np.ones(3, dtype=np.uint8)
"""Grays of a mask, neither of them that of the paper."""


@attrs.frozen
class Row:
    """The section of a dataset.

    Attributes:
        name: What to call the dataset.
        raw: Gray values: rows and columns, in the voxels of the raw data.
        truth: Labels at the same places, None without truth.
        mask: Where truth counts, None without a mask.
        aspect: Height of a pixel in widths.
        width: Width of a pixel in ``unit``.
        unit: Unit of space.
    """

    name: str
    raw: npt.NDArray[Any]
    truth: npt.NDArray[Any] | None
    mask: npt.NDArray[Any] | None
    aspect: float
    width: float
    unit: str

    @classmethod
    def of(cls, name: str, dataset: Dataset, position: float | None) -> Row:
        """Cut a dataset; see :meth:`Dataset.plot`."""
        raw, voxel = dataset.raw, dataset.raw.voxel_size
        roi = cut(raw if dataset.gt is None else dataset.gt, position, voxel)
        place = f"{name}\n{in_words(raw, roi).split(', ')[0]}" if raw.dims == 3 else name
        truth, mask = (
            None if array is None else plane(array, roi, voxel_size=voxel) for array in (dataset.gt, dataset.mask)
        )
        width, unit = (float(raw.spacing[-1]), raw.units[-1]) if raw.units[-1] else (1.0, "voxels")
        return cls(place, plane(raw, roi), truth, mask, voxel[-2] / voxel[-1], width, unit)

    @property
    def height(self) -> float:
        """Height of the picture in its widths, limited."""
        rows, columns = self.raw.shape
        return float(np.clip(rows / columns * self.aspect, 0.25, 1.5))


def plot_datasets(datasets: Sequence[tuple[str, Dataset]], position: float | None = None) -> Figure:
    """Return a picture with a row for each dataset: a section of raw data, truth, both, and the mask.

    Args:
        datasets: What to call each, and the dataset.
        position: Where to cut, in world units along the first axis, as :meth:`Dataset.plot` takes it.
    """
    with style():
        if not datasets:
            figure = new_figure(WIDTH, 1)
            empty = figure.subplots()
            without_ticks(empty, "")
            say(empty, "no datasets")
            return figure
        rows = [Row.of(name, dataset, position) for name, dataset in datasets[:MOST]]
        labeled, masked = any(row.truth is not None for row in rows), any(row.mask is not None for row in rows)
        columns = ["Raw", *(["Truth", "Truth over raw"] if labeled else []), *(["Mask"] if masked else [])]
        heights = [WIDTH * row.height for row in rows]
        figure = new_figure(WIDTH * len(columns) + 0.6, sum(heights) + 0.6 * len(rows))
        panels: Any = figure.subplots(len(rows), len(columns), squeeze=False, height_ratios=heights)
        for axes, row in zip(panels, rows, strict=True):
            _draw_row(dict(zip(columns, axes, strict=True)), row)
        if len(datasets) > MOST:
            figure.suptitle(f"{MOST} of {len(datasets)} datasets")
        return figure


def _draw_row(panels: dict[str, Any], row: Row) -> None:
    from dacapo.utils.images import label_image, overlay_image, value_range

    low, high = value_range(row.raw)
    pictures: dict[str, list[Any]] = {"Raw": [row.raw]}
    if row.truth is not None:
        overlay = overlay_image(row.truth)
        overlay[..., 3] = overlay[..., 3] * OVERLAY
        pictures |= {"Truth": [label_image(row.truth)], "Truth over raw": [row.raw, overlay]}
    if row.mask is not None:
        pictures["Mask"] = [np.where(row.mask[..., np.newaxis] > 0, MASKED_IN, MASKED_OUT)]
    for title, panel in panels.items():
        without_ticks(panel, title if title in pictures else "")
        for picture in pictures.get(title, []):
            panel.imshow(picture, cmap="gray", vmin=low, vmax=high, interpolation="nearest", aspect=row.aspect)
        if title not in pictures:
            say(panel, "no mask" if title == "Mask" else "no truth")
    draw_scale_bar(panels["Raw"], row.raw.shape, row.width, row.unit)
    panels["Raw"].set_ylabel(row.name)


def cut(array: Array, position: float | None, voxel_size: Coordinate | None = None) -> Roi:
    """Return a section through an array: at a position along the first axis, or where most is labeled.

    Args:
        array: The array.
        position: In world units.
        voxel_size: The pixels of the picture; by default the voxels of the array.

    Raises:
        RoiError: If the position lies outside of the array.
    """
    roi = section(array, voxel_size)
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
