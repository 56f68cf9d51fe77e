"""Pictures of data, segmentations and the progress of runs, with matplotlib (the extra ``dacapo[plot]``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.utils.drawing import GREEN, INK, ORANGE, draw_scale_bar, new_figure, style, without_ticks
from dacapo.utils.drawing import draw_loss as draw_loss
from dacapo.utils.label_colors import label_colors as label_colors
from dacapo.utils.label_colors import match_labels as match_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@attrs.frozen
class Slices:
    """A section through a volume and the results for it, each of shape (rows, columns).

    Attributes:
        raw: Gray values.
        truth: Labels, 0 where unlabeled.
        prediction: Output of the network, from 0 to 1.
        segmentation: Labels of the segmentation.
        voxel_size: Size of a pixel in ``unit``; pixels are square.
        unit: Unit of ``voxel_size``.
        origin: Source of the raw data, for its title.
    """

    raw: npt.NDArray[Any]
    truth: npt.NDArray[Any]
    prediction: npt.NDArray[Any]
    segmentation: npt.NDArray[Any]
    voxel_size: float = 1
    unit: str = "voxels"
    origin: str = ""


@attrs.frozen
class Progress:
    """The course of a training.

    Attributes:
        losses: Loss of each iteration.
        validated: The validated iterations.
        voi_split: Split part of the variation of information at each validated iteration, in bits.
        voi_merge: Merge part at each validated iteration, in bits.
        best: The chosen iteration.
    """

    losses: Sequence[float]
    validated: Sequence[int]
    voi_split: Sequence[float]
    voi_merge: Sequence[float]
    best: int | None = None


def save_overview(path: Path, slices: Slices, progress: Progress, title: str = "") -> None:
    """Write a picture: a section of raw, truth, prediction and segmentation above loss and scores over iterations.

    Args:
        path: The file to write; its suffix sets the format. A PNG file has 1320 by 726 pixels.
        slices: The section.
        progress: The curves.
        title: One line above the picture.

    Raises:
        MissingDependencyError: If matplotlib is not installed.
    """
    with style():
        figure = new_figure(12, 6.6)
        rows: Any = figure.subfigures(2, 1, height_ratios=[1.0, 0.92])
        upper, lower = rows
        _draw_slices(upper.subplots(1, 4, gridspec_kw={"wspace": 0.02}), slices)
        loss, voi = lower.subplots(1, 2, gridspec_kw={"wspace": 0.06})
        draw_loss(loss, progress.losses)
        draw_voi(voi, progress)
        if title:
            figure.suptitle(title, x=0.012, ha="left", fontsize=13)
        figure.savefig(path, dpi=110)


def draw_voi(axes: Axes, progress: Progress) -> None:
    """Draw the split and merge parts and their sum over the validated iterations, and mark the chosen iteration."""
    split, merge = np.asarray(progress.voi_split, dtype=float), np.asarray(progress.voi_merge, dtype=float)
    style: dict[str, Any] = {"markersize": 4, "linewidth": 2}
    axes.plot(progress.validated, split + merge, "-o", color=INK, label="sum", **style)
    axes.plot(progress.validated, split, "--s", color=ORANGE, label="split", **style)
    axes.plot(progress.validated, merge, ":^", color=GREEN, label="merge", **style)
    if progress.best is not None:
        at = list(progress.validated).index(progress.best)
        sum_there = (split + merge)[at]
        label = f"chosen: {sum_there:.2f}"
        axes.plot([progress.best], [sum_there], "o", markersize=12, markerfacecolor="none", color=INK, label=label)
    axes.set(
        title="Variation of information on the validation volume",
        xlabel="iteration",
        ylabel="bits (lower is better)",
        xlim=(0, None),
        ylim=(0, 1.2 * np.nanmax([1e-9, *(split + merge)])),  # room for the legend
    )
    axes.legend(loc="upper right", ncols=4, columnspacing=1.2, handlelength=1.8)


def _draw_slices(panels: Sequence[Axes], slices: Slices) -> None:
    raw_range = np.percentile(slices.raw, (0.5, 99.5))
    gray: dict[str, Any] = {"cmap": "gray", "interpolation": "nearest"}
    panels[0].imshow(slices.raw, vmin=raw_range[0], vmax=raw_range[1], **gray)
    panels[1].imshow(label_colors(slices.truth), interpolation="nearest")
    panels[2].imshow(slices.prediction, vmin=0, vmax=1, **gray)
    panels[3].imshow(label_colors(match_labels(slices.segmentation, slices.truth)), interpolation="nearest")
    raw_title = f"Raw ({slices.origin})" if slices.origin else "Raw"
    for panel, name in zip(panels, (raw_title, "Truth", "Prediction (affinity)", "Segmentation"), strict=True):
        without_ticks(panel, name)
    draw_scale_bar(panels[0], slices.raw.shape, slices.voxel_size, slices.unit)
