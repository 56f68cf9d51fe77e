"""Region adjacency graphs: the fragments that touch each other, and the affinities between them.

Importing this module does not load Numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.errors import ConfigError
from dacapo.utils.fragments import Levels, in_three_axes

Integers = npt.NDArray[np.int64]

MOST_FRAGMENTS = (1 << 28) - 1
"""Most fragments whose contacts can be counted at once."""


@attrs.frozen(eq=False)
class RegionGraph:
    """The contacts between fragments.

    Every edge has a histogram of the affinities between its fragments, as 256 levels: the mean and all quantiles follow
    from it, and histograms of parts of a volume add up without rounding.

    Attributes:
        edges: Pairs of fragments, the lower one first, sorted; shape (edges, 2).
        starts: For each edge the index of the first of its entries, and at the end the number of all.
        levels: The level of each entry, ascending for each edge.
        counts: How many affinities have that level.
    """

    edges: Integers
    starts: Integers
    levels: Levels
    counts: Integers

    @classmethod
    def of(cls, ends: Integers, levels: npt.NDArray[Any], counts: npt.NDArray[Any]) -> RegionGraph:
        """Sort entries into a graph, and add up those that are the same.

        Args:
            ends: The two fragments of each entry, the lower one first.
            levels: Its level.
            counts: How many affinities it stands for.
        """
        ends = np.asarray(ends, dtype=np.int64).reshape(-1, 2)
        order = np.lexsort((levels, ends[:, 1], ends[:, 0]))
        ends, levels, counts = ends[order], np.asarray(levels)[order], np.asarray(counts)[order]
        new_edge = np.ones(len(ends), dtype=bool)
        new_edge[1:] = (ends[1:] != ends[:-1]).any(axis=1)
        new_entry = new_edge.copy()
        new_entry[1:] |= levels[1:] != levels[:-1]
        first = np.flatnonzero(new_entry)
        sums = np.add.reduceat(counts, first) if len(first) else counts
        starts = np.append(np.flatnonzero(new_edge[first]), len(first))
        return cls(
            ends[new_edge], starts.astype(np.int64), levels[first].astype(np.uint8), np.asarray(sums, dtype=np.int64)
        )

    @classmethod
    def together(cls, graphs: Sequence[RegionGraph]) -> RegionGraph:
        """Return the graph with the edges of several graphs, no two of which have the same edge."""
        edges = np.concatenate([np.zeros((0, 2), dtype=np.int64), *(graph.edges for graph in graphs)])
        counts = np.concatenate([np.zeros(0, dtype=np.int64), *(np.diff(graph.starts) for graph in graphs)])
        begins = np.cumsum(counts) - counts
        order = np.lexsort((edges[:, 1], edges[:, 0]))
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts[order])])
        # The entries of an edge stay together, in their order.
        entries = np.arange(int(starts[-1])) + np.repeat(begins[order] - starts[:-1], counts[order])
        levels = np.concatenate([np.zeros(0, dtype=np.uint8), *(graph.levels for graph in graphs)])
        amounts = np.concatenate([np.zeros(0, dtype=np.int64), *(graph.counts for graph in graphs)])
        return cls(edges[order], starts, levels[entries], amounts[entries])

    @property
    def sizes(self) -> Integers:
        """Number of affinities of each edge."""
        return self._per_edge(self.counts)

    @property
    def sums(self) -> Integers:
        """Sum of the levels of each edge."""
        return self._per_edge(self.counts * self.levels)

    def entries(self) -> tuple[Integers, Levels, Integers]:
        """Return the arguments of :meth:`of`: ends, level and count of each entry."""
        return np.repeat(self.edges, np.diff(self.starts), axis=0), self.levels, self.counts

    def _per_edge(self, values: Integers) -> Integers:
        return np.add.reduceat(values, self.starts[:-1]) if len(self.edges) else np.zeros(0, dtype=np.int64)


def region_graph(
    fragments: npt.NDArray[Any],
    levels: Levels,
    offsets: Sequence[Sequence[int]],
    end: Sequence[int] | None = None,
) -> RegionGraph:
    """Find the contacts between fragments.

    Args:
        fragments: Labels below 2^28, 0 for background; two or three axes.
        levels: Affinities to direct neighbors as levels, channel first.
        offsets: The offset of each channel, one voxel along one axis, in either direction.
        end: Along each axis the end of the voxels whose contacts with the next voxel are counted, by default all.

    Returns:
        The graph of the labels.

    Raises:
        ConfigError: If a label is too large.
    """
    from dacapo.utils.fragment_kernels import LABEL_BITS, contacts

    if fragments.size and int(fragments.max()) > MOST_FRAGMENTS:
        raise ConfigError(f"{int(fragments.max())} fragments are more than {MOST_FRAGMENTS}; use smaller blocks")
    steps = np.array(in_three_axes(offsets), dtype=np.int64)
    ones = (1,) * (3 - fragments.ndim)
    limits = np.array((*ones, *(fragments.shape if end is None else end)), dtype=np.int64)
    keys, counts = contacts(
        np.ascontiguousarray(fragments).reshape(*ones, *fragments.shape),
        np.ascontiguousarray(levels).reshape(len(levels), *ones, *fragments.shape),
        np.argmax(np.abs(steps), axis=1),
        steps.sum(axis=1) > 0,
        limits,
    )
    ends = np.stack([keys >> np.uint64(LABEL_BITS + 8), (keys >> np.uint64(8)) & np.uint64(MOST_FRAGMENTS)], axis=1)
    return RegionGraph.of(ends.astype(np.int64), keys & np.uint64(255), counts)
