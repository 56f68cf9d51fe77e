"""Drawing with matplotlib (the extra ``dacapo[plot]``): style, figures, and what several pictures have in common.

Figures need no display and no global state of matplotlib. Colors come from the Okabe-Ito palette, which people with any
kind of color vision can tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dacapo.ext import optional_module

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

ORANGE, BLUE, GREEN, VERMILION, PURPLE, INK, GRAY = (
    "#E69F00",
    "#0072B2",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#222222",
    "#8C8C8C",
)
SERIES = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, INK)
MOST_INSIDE = 4
"""Most lines that are named inside of a panel."""
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


def require_matplotlib() -> ModuleType:
    """Return matplotlib.

    Raises:
        MissingDependencyError: If it is not installed.
    """
    return optional_module("matplotlib", "pictures need matplotlib")


def style() -> AbstractContextManager[Any]:
    """Return the context to draw in.

    Raises:
        MissingDependencyError: If matplotlib is not installed.
    """
    context: AbstractContextManager[Any] = require_matplotlib().rc_context(STYLE)
    return context


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, which notebooks show.

    Args:
        width: In inches.
        height: In inches.
    """
    from dacapo.utils.notebook_figure import NotebookFigure

    return NotebookFigure(figsize=(width, height), layout="constrained")


def draw_loss(axes: Axes, losses: Sequence[float], first: int = 0) -> None:
    """Draw the loss over iterations, raw and smoothed.

    Args:
        axes: Where to draw.
        losses: Loss of each iteration.
        first: Number of iterations before these.
    """
    values = np.asarray(losses, dtype=float)
    iterations = np.arange(first + 1, first + len(values) + 1)
    window = max(1, len(values) // 25)
    marker = "o" if len(values) == 1 else ""  # a line needs two points
    axes.plot(iterations, values, marker=marker, color=BLUE, alpha=0.25, linewidth=0.8, label="each iteration")
    axes.plot(iterations, _running_mean(values, window), color=BLUE, linewidth=2, label=f"mean of {window}")
    lowest = np.min(values[np.isfinite(values)], initial=0)
    limits = {"xlim": (0, max(first + len(values), 1)), "ylim": (None if lowest < 0 else 0, None)}
    axes.set(title="Training loss", xlabel="iteration", ylabel="loss", **limits)
    if len(values):
        axes.legend(loc="best")


def draw_course(axes: Axes, iterations: npt.NDArray[Any], values: npt.NDArray[Any], name: str, number: int = 0) -> None:
    """Draw a line of scores over iterations; the number decides its color and its markers."""
    marker = "os^Dv*"[(number + number // len(SERIES)) % 6]  # another one where the colors begin again
    axes.plot(iterations, values, "-", marker=marker, color=SERIES[number % len(SERIES)], markersize=4, label=name)


def name_courses(axes: Axes, count: int) -> None:
    """Name the lines of a panel: inside, or beside it where they are many."""
    if count > MOST_INSIDE:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    else:
        axes.legend(loc="best")


def say(axes: Axes, message: str) -> None:
    """Write in the middle of a panel why it is empty."""
    axes.text(0.5, 0.5, message, ha="center", va="center", color=GRAY, transform=axes.transAxes)


def without_ticks(axes: Axes, title: str) -> None:
    """Make a panel that of a picture."""
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def draw_scale_bar(axes: Axes, shape: tuple[int, ...], voxel_size: float, unit: str) -> None:
    """Draw a bar of a round length, about a quarter of the width of the image, with its length above it.

    Both lie in the lower left corner of the image, or below it if the image is too narrow or too flat for them.

    Args:
        axes: A panel with an image.
        shape: Rows and columns of the image.
        voxel_size: Width of a column.
        unit: Unit of ``voxel_size``.
    """
    from matplotlib.patheffects import withStroke

    rows, columns = shape
    wanted = columns * voxel_size / 4
    power = 10.0 ** np.floor(np.log10(wanted))
    length = max(step * power for step in (1, 2, 5) if step * power <= wanted)
    left, bottom = 0.04 * columns, 0.95 * rows
    ends = [left, left + length / voxel_size]
    words = f"{length:g} {unit}"
    (bar,) = axes.plot(ends, [bottom, bottom], color="white", linewidth=4, solid_capstyle="butt")
    text = axes.text(left, bottom - 0.025 * rows, words, color="white", va="bottom", fontweight="bold")
    text.set_path_effects([withStroke(linewidth=2, foreground=INK)])
    if not _fits(text, axes, shape):
        bar.remove()
        text.remove()
        _draw_bar_below(axes, ends[1] - ends[0], words)


def _draw_bar_below(axes: Axes, columns: float, words: str) -> None:
    """Draw a bar of so many columns below an image, from its left side, and words below that."""
    from matplotlib.transforms import ScaledTranslation

    points = [-5 / 72, -9 / 72]  # below the image, in inches
    figure = axes.get_figure(root=True)
    assert figure is not None
    at_bar, at_words = (
        axes.get_xaxis_transform() + ScaledTranslation(0, below, figure.dpi_scale_trans) for below in points
    )
    axes.plot(
        [-0.5, columns - 0.5], [0, 0], color=INK, linewidth=4, solid_capstyle="butt", clip_on=False, transform=at_bar
    )
    axes.text(-0.5, 0, words, ha="left", va="top", transform=at_words)


def _fits(text: Text, axes: Axes, shape: tuple[int, ...]) -> bool:
    """Return whether a text ends inside an image, and covers less than half of its height."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # places the axes
    rows, columns = shape
    corners = axes.transData.transform([(-0.5, -0.5), (0.98 * columns - 0.5, rows - 0.5)])
    box, (left, right), (top, bottom) = text.get_window_extent(), sorted(corners[:, 0]), corners[:, 1]
    return bool(left <= box.x0 and box.x1 <= right and box.height < abs(top - bottom) / 2)


def _running_mean(values: npt.NDArray[Any], window: int) -> npt.NDArray[Any]:
    """Return the running mean over each value and up to ``window - 1`` values before it; NaN counts as no value."""
    known = ~np.isnan(values)
    sums, counts = (np.concatenate([[0.0], part.cumsum()]) for part in (np.where(known, values, 0), known))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    totals, numbers = sums[ends] - sums[starts], counts[ends] - counts[starts]
    return np.where(known & (numbers > 0), totals / np.maximum(numbers, 1), np.nan)
