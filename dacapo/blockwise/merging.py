"""Joining the segments of neighboring blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from dacapo.errors import ConfigError

BATCH = 1 << 20
"""Number of pairs that are joined at once."""


def overlapping_pairs(
    labels: npt.NDArray[Any], others: npt.NDArray[Any], min_overlap: float = 0.0
) -> npt.NDArray[np.uint64]:
    """Return which segments of two segmentations of the same place overlap.

    Args:
        labels: Labels of one segmentation, 0 for background.
        others: Those of the other, of the same shape.
        min_overlap: Pairs are left out whose overlap is not more than this part of the smaller segment. Voxels that are
            background in one of the two do not count.

    Returns:
        One row (label, other label) per pair, sorted.

    >>> import numpy as np
    >>> overlapping_pairs(np.array([1, 1, 1, 2, 0]), np.array([7, 7, 8, 8, 8])).tolist()
    [[1, 7], [1, 8], [2, 8]]
    >>> overlapping_pairs(np.array([1, 1, 1, 2, 0]), np.array([7, 7, 8, 8, 8]), min_overlap=0.5).tolist()
    [[1, 7], [2, 8]]
    """
    both = (labels > 0) & (others > 0)
    rows = np.stack([labels[both], others[both]], axis=1).astype(np.uint64)
    pairs, counts = np.unique(rows, axis=0, return_counts=True)
    if min_overlap <= 0 or not len(pairs):
        return pairs
    sizes = [_totals(pairs[:, column], counts) for column in (0, 1)]
    return pairs[counts > min_overlap * np.minimum(*sizes)]


def _totals(ids: npt.NDArray[np.uint64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return for each entry the sum of the counts of all entries with the same id."""
    _, index = np.unique(ids, return_inverse=True)
    return np.asarray(np.bincount(index, weights=counts)[index])


def find(parent: npt.NDArray[np.int64], nodes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the representatives of nodes in a union-find forest."""
    roots = parent[nodes]
    while not np.array_equal(above := parent[roots], roots):
        roots = above
    return roots


def join(parent: npt.NDArray[np.int64], edges: npt.NDArray[np.int64]) -> None:
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


def merged_labels(count: int, edges: Iterable[npt.NDArray[Any]]) -> npt.NDArray[np.uint64]:
    """Return new labels for segments, the same for those that are joined.

    Args:
        count: Number of segments.
        edges: Arrays of pairs of segments, which are numbered from 0.

    Returns:
        For each segment its label; labels run from 1 on without a gap, in the order of first segments.

    >>> import numpy as np
    >>> merged_labels(5, [np.array([[3, 1]]), np.array([[4, 3]])]).tolist()
    [1, 2, 3, 2, 2]
    """
    parent = np.arange(count, dtype=np.int64)
    waiting: list[npt.NDArray[np.int64]] = []
    size = 0
    for batch in edges:
        waiting.append(batch.astype(np.int64))
        size += len(batch)
        if size >= BATCH:
            join(parent, np.concatenate(waiting))
            waiting, size = [], 0
    if waiting:
        join(parent, np.concatenate(waiting))
    # The label of a representative is its rank among them.
    rank = np.cumsum(parent == np.arange(count), dtype=np.uint64)
    return rank[find(parent, np.arange(count))]


def check_min_overlap(min_overlap: float) -> None:
    """Raise a ConfigError if the value is no part of a whole."""
    if not 0 <= min_overlap < 1:
        raise ConfigError(f"min_overlap is {min_overlap}; expected a number from 0 up to, but not, 1")
