"""Pictures of data, segmentations and the progress of runs, with matplotlib (the extra ``dacapo[plot]``).

Figures need no display and no global state of matplotlib. Colors come from the Okabe-Ito palette, which people with any
kind of color vision can tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.ext import optional_module
from dacapo.utils.label_colors import label_colors as label_colors
from dacapo.utils.label_colors import match_labels as match_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

ORANGE, BLUE, GREEN, INK, GRAY = "#E69F00", "#0072B2", "#009E73", "#222222", "#8C8C8C"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.edgecolor": GRAY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
}


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
    with require_matplotlib().rc_context(STYLE):
        figure = _figure(width=12, height=6.6)
        rows: Any = figure.subfigures(2, 1, height_ratios=[1.0, 0.92])
        upper, lower = rows
        _draw_slices(upper.subplots(1, 4, gridspec_kw={"wspace": 0.02}), slices)
        loss, voi = lower.subplots(1, 2, gridspec_kw={"wspace": 0.06})
        draw_loss(loss, progress.losses)
        draw_voi(voi, progress)
        if title:
            figure.suptitle(title, x=0.012, ha="left", fontsize=13)
        figure.savefig(path, dpi=110)


def draw_loss(axes: Axes, losses: Sequence[float]) -> None:
    """Draw the loss over iterations, raw and smoothed."""
    values = np.asarray(losses, dtype=float)
    iterations = np.arange(1, len(values) + 1)
    window = max(1, len(values) // 25)
    axes.plot(iterations, values, color=BLUE, alpha=0.25, linewidth=0.8, label="each iteration")
    axes.plot(iterations, _running_mean(values, window), color=BLUE, linewidth=2, label=f"mean of {window}")
    axes.set(title="Training loss", xlabel="iteration", ylabel="loss", xlim=(0, max(len(values), 1)), ylim=(0, None))
    axes.legend(loc="best")


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
        panel.set_title(name)
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(False)
    _draw_scale_bar(panels[0], slices)


def _draw_scale_bar(axes: Axes, slices: Slices) -> None:
    """Draw a bar of a round length, about a quarter of the width of the image, with its length beside it.

    The text begins at the left end of the bar, and becomes smaller where the image is too narrow for it.
    """
    from matplotlib.patheffects import withStroke

    rows, columns = slices.raw.shape
    wanted = columns * slices.voxel_size / 4
    power = 10.0 ** np.floor(np.log10(wanted))
    length = max(step * power for step in (1, 2, 5) if step * power <= wanted)
    left, bottom = 0.04 * columns, 0.95 * rows
    pixels = length / slices.voxel_size
    outline = [withStroke(linewidth=2, foreground=INK)]
    axes.plot([left, left + pixels], [bottom, bottom], color="white", linewidth=4, solid_capstyle="butt")
    text = axes.text(
        left,
        bottom - 0.025 * rows,
        f"{length:g} {slices.unit}",
        color="white",
        ha="left",
        va="bottom",
        fontweight="bold",
        path_effects=outline,
    )
    _fit_width(text, axes, columns)


def _fit_width(text: Text, axes: Axes, columns: int) -> None:
    """Make a text small enough to end inside an image of so many columns."""
    figure = axes.get_figure(root=True)
    if figure is None:
        return
    figure.draw_without_rendering()  # places the axes
    begin, end = axes.transData.transform([(text.get_position()[0], 0), (0.98 * columns - 0.5, 0)])[:, 0]
    width = text.get_window_extent().width
    if width > abs(end - begin):
        text.set_fontsize(text.get_fontsize() * abs(end - begin) / width)


def _running_mean(values: npt.NDArray[Any], window: int) -> npt.NDArray[Any]:
    """Return the running mean over each value and up to ``window - 1`` values before it."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def require_matplotlib() -> ModuleType:
    """Return matplotlib.

    Raises:
        MissingDependencyError: If it is not installed.
    """
    return optional_module("matplotlib", "pictures need matplotlib")
