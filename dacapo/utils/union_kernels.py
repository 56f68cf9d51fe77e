"""Kernels of union-find: sets of numbers that only ever join. Importing loads Numba.

Sets are trees of parents, as in `Galler and Fischer (1964) <https://doi.org/10.1145/364099.364331>`_. The least number
of a set is its root, so a parent is never above its children, and the order of the pairs does not matter.
"""

from __future__ import annotations

from typing import Any

from dacapo.utils.kernels import compiled, find


@compiled
def unite(parent: Any, ones: Any, others: Any) -> None:
    """Join the sets of pairs of numbers, in place.

    Args:
        parent: For each number another one of its set that is not larger, or itself if it is the root.
        ones: One number of each pair.
        others: The other.
    """
    for index in range(len(ones)):
        a, b = find(parent, ones[index]), find(parent, others[index])
        if a != b:
            parent[max(a, b)] = min(a, b)


@compiled
def flatten(parent: Any) -> None:
    """Make the root of each number its parent, in place."""
    for node in range(len(parent)):  # those below are flat by then
        parent[node] = parent[parent[node]]
