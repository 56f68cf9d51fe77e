"""A long curve in little memory: its values in bins, each with its lowest and highest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class SampledCurve:
    """Values over ascending integers, such as losses over iterations, summarized in a limited number of bins.

    All bins are equally wide. When there are too many, they become twice as wide, so values can be added forever.

    Attributes:
        width: Number of integers in a bin.
        last: The last integer added, None if none was.
    """

    def __init__(self, most: int = 1000) -> None:
        """Begin without values.

        Args:
            most: The largest number of bins.
        """
        self.width = 1
        self.last: int | None = None
        self._most = most
        self._bins = np.empty(0, np.int64)
        self._counts = np.empty(0, np.int64)
        self._sums, self._low, self._high = (np.empty(0) for _ in range(3))

    def extend(self, x: npt.ArrayLike, y: npt.ArrayLike) -> None:
        """Add values; all ``x`` ascend, and are beyond those that were added before. NaN marks a missing value."""
        integers, values = np.asarray(x, np.int64), np.asarray(y, np.float64)
        if not len(integers):
            return
        missing = np.isnan(values)
        self._bins = np.concatenate([self._bins, integers // self.width])
        self._counts = np.concatenate([self._counts, ~missing])
        self._sums = np.concatenate([self._sums, np.where(missing, 0, values)])
        self._low, self._high = np.concatenate([self._low, values]), np.concatenate([self._high, values])
        self.last = int(integers[-1])
        self._join()
        while len(self._bins) > self._most:
            self.width *= 2
            self._bins //= 2
            self._join()

    def points(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Return the middle of each bin, and the mean, lowest and highest of its values; NaN where all are missing."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means = self._sums / self._counts
        middle = self._bins * self.width + (self.width - 1) / 2
        return np.minimum(middle, np.inf if self.last is None else self.last), means, self._low, self._high

    def _join(self) -> None:
        """Make one bin of all successive ones with the same number."""
        starts = np.flatnonzero(np.diff(self._bins, prepend=-1))
        self._bins = self._bins[starts]
        self._counts, self._sums = (np.add.reduceat(values, starts) for values in (self._counts, self._sums))
        self._low, self._high = np.fmin.reduceat(self._low, starts), np.fmax.reduceat(self._high, starts)
