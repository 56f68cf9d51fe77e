"""The record of a training."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import attrs
import numpy as np

from dacapo.errors import RecordError
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.utils.drawing import draw_loss, new_figure, say, style
from dacapo.utils.html import html_table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@attrs.define(repr=False)
class TrainingStats:
    """Collect the statistics of consecutive training iterations.

    Attributes:
        iteration_stats: One entry per iteration, ascending without gaps.
    """

    iteration_stats: list[TrainingIterationStats] = attrs.field(factory=list)

    def add_iteration_stats(self, iteration_stats: TrainingIterationStats) -> None:
        """Append the statistics of the next iteration.

        The first entry may have any iteration, since older statistics may be missing.

        Raises:
            RecordError: If the iteration does not follow the last one.
        """
        if self.iteration_stats and iteration_stats.iteration != self.trained_until():
            raise RecordError(
                f"got the statistics of iteration {iteration_stats.iteration}, expected iteration "
                f"{self.trained_until()}: add each iteration once and in order; "
                "call delete_after to train from an earlier one"
            )
        self.iteration_stats.append(iteration_stats)

    def delete_after(self, iteration: int) -> None:
        """Drop ``iteration`` and everything after it, so that ``trained_until()`` is at most ``iteration``."""
        del self.iteration_stats[bisect_left(self.iteration_stats, iteration, key=lambda stats: stats.iteration) :]

    def trained_until(self) -> int:
        """Return the number of iterations trained for: the last iteration plus one, 0 for an empty record."""
        return self.iteration_stats[-1].iteration + 1 if self.iteration_stats else 0

    def __repr__(self) -> str:
        if not self.iteration_stats:
            return "TrainingStats(empty)"
        first, last = self.iteration_stats[0], self.iteration_stats[-1]
        return f"TrainingStats(iterations {first.iteration} to {last.iteration}, last loss {last.loss:.4g})"

    def _repr_html_(self) -> str:
        """Return the losses at up to ten iterations, for notebooks."""
        entries = self.iteration_stats
        shown = [entries[round(place)] for place in np.linspace(0, len(entries) - 1, min(10, len(entries)))]
        rows = [[each.iteration, f"{each.loss:.5g}", "" if each.time is None else f"{each.time:.3g}"] for each in shown]
        return html_table(repr(self), ["iteration", "loss", "seconds"], rows)

    def plot(self) -> Figure:
        """Draw the loss over iterations, raw and smoothed.

        Raises:
            MissingDependencyError: If matplotlib is not installed.
        """
        with style():
            figure = new_figure(6, 3.6)
            self.draw(figure.subplots())
            return figure

    def draw(self, axes: Axes) -> None:
        """Draw the loss over iterations into a panel of matplotlib."""
        losses = [stats.loss for stats in self.iteration_stats]
        draw_loss(axes, losses, self.iteration_stats[0].iteration if losses else 0)
        if not losses:
            say(axes, "not trained yet")

    def to_xarray(self) -> xr.DataArray:
        """Return the losses along the dimension ``iterations``, labeled with the iteration numbers."""
        import xarray as xr

        count = len(self.iteration_stats)
        losses = np.fromiter((stats.loss for stats in self.iteration_stats), np.float64, count)
        iterations = np.fromiter((stats.iteration for stats in self.iteration_stats), np.int64, count)
        return xr.DataArray(losses, dims=["iterations"], coords={"iterations": iterations})
