"""Joining fragments: pairs that overlap, and a union-find over pairs that do not fit in memory.

Sets are trees of parents, as in `Galler and Fischer (1964) <https://doi.org/10.1145/364099.364331>`_. A Python loop
over single pairs would be slow, so pairs are joined in batches: SciPy finds the connected components of the roots in a
batch, and the least root of a component becomes the parent of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.errors import ConfigError
from dacapo.utils.contingency import ContingencyTable

Numbers = npt.NDArray[np.int64]

BATCH = 1 << 20
"""Number of pairs that are joined at once."""


def overlapping_pairs(
    labels: npt.NDArray[Any], others: npt.NDArray[Any], min_overlap: float = 0.0
) -> npt.NDArray[np.uint64]:
    """Return the pairs of segments of two segmentations of the same place that overlap.

    Args:
        labels: Labels of one segmentation, 0 for background.
        others: Those of the other, of the same shape.
        min_overlap: The overlap of a pair must exceed this part of the smaller segment. Voxels that are background in
            one of the two do not count.

    Returns:
        One row (label, other label) per pair, sorted.

    >>> import numpy as np
    >>> overlapping_pairs(np.array([1, 1, 1, 2, 0]), np.array([7, 7, 8, 8, 8])).tolist()
    [[1, 7], [1, 8], [2, 8]]
    >>> overlapping_pairs(np.array([1, 1, 1, 2, 0]), np.array([7, 7, 8, 8, 8]), min_overlap=0.5).tolist()
    [[1, 7], [2, 8]]
    """
    table = ContingencyTable.of(labels, others).without([0], [0])
    pairs, counts = np.stack([table.first, table.second], axis=1), table.counts
    if min_overlap <= 0 or not len(pairs):
        return pairs
    sizes = [_totals(pairs[:, column], counts) for column in (0, 1)]
    return pairs[counts > min_overlap * np.minimum(*sizes)]


def _totals(ids: npt.NDArray[np.uint64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return for each entry the sum of the counts of all entries with the same id."""
    _, index = np.unique(ids, return_inverse=True)
    return np.asarray(np.bincount(index, weights=counts)[index])


def check_min_overlap(min_overlap: float) -> None:
    """Raise a ConfigError unless the value is a part of a whole."""
    if not 0 <= min_overlap < 1:
        raise ConfigError(f"min_overlap is {min_overlap}; expected a number from 0 up to, but not, 1")


@attrs.frozen
class Joined:
    """The joined fragments, without those that have no pair.

    Attributes:
        nodes: The fragments, sorted.
        roots: For each of them the index in ``nodes`` of its root, the least fragment that it is joined to, or itself.
    """

    nodes: Numbers
    roots: Numbers

    def slice(self, begin: int, end: int) -> slice:
        """Return the part of ``nodes`` between two numbers, without the second."""
        first, last = np.searchsorted(self.nodes, [begin, end])
        return slice(int(first), int(last))

    def totals(
        self, measures: Iterable[tuple[int, Numbers, npt.NDArray[np.float64]]]
    ) -> tuple[Numbers, npt.NDArray[np.float64]]:
        """Return the sums of two measures over the fragments of each root.

        Args:
            measures: For runs of consecutive fragments the number of the first one, and both measures of each.
        """
        sizes, sums = np.zeros(len(self.nodes), dtype=np.int64), np.zeros(len(self.nodes))
        for begin, some_sizes, some_sums in measures:
            where = self.slice(begin, begin + len(some_sizes))
            np.add.at(sizes, self.roots[where], some_sizes[self.nodes[where] - begin])
            np.add.at(sums, self.roots[where], some_sums[self.nodes[where] - begin])
        return sizes, sums


def join_all(edges: Callable[[], Iterable[npt.NDArray[Any]]]) -> Joined:
    """Join fragments by pairs that are never all in memory.

    Memory grows with the number of fragments that have a pair, by some 50 bytes for each.

    Args:
        edges: Returns arrays of pairs of fragments, one row per pair; called twice.

    >>> joined = join_all(lambda: [np.array([[3, 1]]), np.array([[4, 3], [7, 9]])])
    >>> joined.nodes.tolist(), joined.nodes[joined.roots].tolist()
    ([1, 3, 4, 7, 9], [1, 1, 1, 7, 7])
    """
    nodes = _distinct(batch.ravel() for batch in _batches(edges()))
    parent = np.arange(len(nodes), dtype=np.int64)
    for batch in _batches(edges()):
        join(parent, np.searchsorted(nodes, batch))
    _flatten(parent)
    return Joined(nodes, parent)


def _batches(edges: Iterable[npt.NDArray[Any]]) -> Iterator[Numbers]:
    """Yield pairs in batches."""
    waiting: list[Numbers] = []
    size = 0
    for some in edges:
        for begin in range(0, len(some), BATCH):
            waiting.append(some[begin : begin + BATCH].astype(np.int64))
            size += len(waiting[-1])
            if size >= BATCH:
                yield np.concatenate(waiting)
                waiting, size = [], 0
    if size:
        yield np.concatenate(waiting)


def _distinct(parts: Iterable[Numbers]) -> Numbers:
    """Return the distinct numbers, sorted."""
    found = np.zeros(0, dtype=np.int64)
    waiting: list[Numbers] = []
    size = 0
    for part in parts:
        waiting.append(np.unique(part))
        size += len(waiting[-1])
        if size > len(found) / 2:  # enough are waiting to make it worth sorting all again
            found = np.unique(np.concatenate([found, *waiting]))
            waiting, size = [], 0
    return np.unique(np.concatenate([found, *waiting])) if waiting else found


def find(parent: Numbers, nodes: Numbers) -> Numbers:
    """Return the representatives of nodes in a union-find forest."""
    roots = parent[nodes]
    while not np.array_equal(above := parent[roots], roots):
        roots = above
    return roots


def _flatten(parent: Numbers) -> None:
    """Make the representative of each node its parent, in place."""
    for begin in range(0, len(parent), BATCH):
        part = slice(begin, begin + BATCH)
        parent[part] = find(parent, parent[part])


def join(parent: Numbers, edges: Numbers) -> None:
    """Join nodes of a union-find forest, in place. The least node of a set represents it.

    Args:
        parent: For each node another of its set that is not larger, or itself if it represents the set.
        edges: Pairs of nodes, one per row.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(edges):
        return
    roots, index = np.unique(find(parent, edges.ravel()), return_inverse=True)
    ends = index.reshape(edges.shape)
    graph = coo_array((np.ones(len(ends), dtype=bool), (ends[:, 0], ends[:, 1])), shape=(len(roots), len(roots)))
    count, component = connected_components(graph, directed=False)
    least = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(least, component, roots)
    parent[roots] = least[component]
    parent[edges.ravel()] = find(parent, edges.ravel())
