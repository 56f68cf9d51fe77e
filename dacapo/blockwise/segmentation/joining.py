"""Joining fragments: pairs that overlap, and the sets that they make."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dacapo.errors import ConfigError
from dacapo.utils.contingency import ContingencyTable

Numbers = npt.NDArray[np.int64]


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


def roots_of(nodes: npt.NDArray[Any], pairs: npt.NDArray[Any]) -> Numbers:
    """Join numbers by pairs.

    Args:
        nodes: Distinct numbers, sorted.
        pairs: Pairs of them, one per row.

    Returns:
        For each number the index of the least one that it is joined to, or of itself.

    >>> roots_of(np.array([1, 3, 4, 7, 9]), np.array([[3, 1], [4, 3], [7, 9]])).tolist()
    [0, 0, 0, 3, 3]
    """
    from dacapo.utils.union_kernels import flatten, unite

    parent = np.arange(len(nodes), dtype=np.int64)
    unite(parent, *np.searchsorted(nodes, pairs.T))
    flatten(parent)
    return parent
