"""Facts about the values of raw data and labels, gathered patch by patch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

import attrs
import fastremap
import numpy as np
import numpy.typing as npt


@attrs.define
class RawFacts:
    """Facts about the sampled values of raw data.

    Attributes:
        voxels: Number of voxels read.
        of: Number of voxels that could be read.
        whole: Whether all were read.
        smallest: Smallest finite value of each channel.
        largest: Largest finite value of each channel.
        not_finite: Number of values that are NaN or infinite.
        chunks: For each chunk on disk that was looked for, whether it is there.
    """

    of: int = 0
    voxels: int = 0
    whole: bool = False
    smallest: list[float] = attrs.field(factory=list)
    largest: list[float] = attrs.field(factory=list)
    not_finite: int = 0
    chunks: dict[Hashable, bool] = attrs.field(factory=dict)

    def add(self, values: npt.NDArray[np.generic]) -> None:
        """Take in a patch, channels first."""
        self.voxels += values[0].size
        if not self.smallest:
            self.smallest, self.largest = [np.inf] * len(values), [-np.inf] * len(values)
        for number, channel in enumerate(values):
            finite = channel
            if channel.dtype.kind in "fc":
                finite = channel[np.isfinite(channel)]
                self.not_finite += channel.size - finite.size
            if finite.size:
                self.smallest[number] = min(self.smallest[number], float(finite.min()))
                self.largest[number] = max(self.largest[number], float(finite.max()))

    @property
    def constant_channels(self) -> list[int]:
        """Numbers of the channels with a single value everywhere."""
        pairs = enumerate(zip(self.smallest, self.largest, strict=True))
        return [number for number, (low, high) in pairs if low == high]


@attrs.define
class LabelFacts:
    """Facts about the sampled values of labels, where they are annotated.

    Attributes:
        of: Number of voxels that could be read.
        voxels: Number of voxels read.
        whole: Whether all were read.
        annotated: Number of voxels read that are annotated.
        counts: For each channel, how many annotated voxels hold each value.
    """

    of: int = 0
    voxels: int = 0
    whole: bool = False
    annotated: int = 0
    counts: list[Counter[int]] = attrs.field(factory=list)

    def add(self, labels: npt.NDArray[np.generic], mask: npt.NDArray[np.generic] | None) -> None:
        """Take in a patch.

        Args:
            labels: Channels first.
            mask: Not 0 where annotated, channels first: one channel or as many as the labels; None for everywhere.
        """
        self.counts = self.counts or [Counter() for _ in labels]
        self.voxels += labels[0].size
        known = None if mask is None else mask != 0
        self.annotated += labels[0].size if known is None else int(known.any(axis=0).sum())
        for number, channel in enumerate(labels):
            part = channel if known is None else channel[known[number if len(known) == len(labels) else 0]]
            # Labels are integers or bool; those of other types are refused elsewhere.
            values, counts = fastremap.unique(part.view(np.uint8) if part.dtype == bool else part, return_counts=True)
            self.counts[number].update(dict(zip(values.tolist(), counts.tolist(), strict=True)))

    def foreground(self, channel: int) -> int:
        """Return how many voxels of a channel are not 0."""
        return sum(self.counts[channel].values()) - self.counts[channel][0]
