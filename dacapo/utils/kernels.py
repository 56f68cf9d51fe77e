"""Numba, and the compiled functions that several modules of kernels share.

Numba is imported only here. That takes time, so modules of kernels are imported in the functions that need them.
Compiled code is cached on disk, in ``__pycache__`` beside the modules or in ``NUMBA_CACHE_DIR``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function on its first call; it releases the global interpreter lock."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder for the compiled code
        return njit(nogil=True)(function)


@compiled
def find(parent: Any, node: Any) -> Any:
    """Return the representative of a node, halving the path to it.

    Path halving (Tarjan and van Leeuwen 1984, https://doi.org/10.1145/62.2160) needs one pass and no stack.
    """
    above = parent[node]
    while True:
        higher = parent[above]
        if higher == above:  # do not write to a path that is already short
            return above
        parent[node] = higher
        node = higher
        above = parent[node]


@compiled
def place_of(table: Any, key: Any) -> Any:
    """Return the position of a key, not 0, in a hash table, or the free position for it.

    Fibonacci hashing: 2^64 over the golden ratio, times the key, spreads consecutive keys evenly (Knuth, The Art of
    Computer Programming 3, section 6.4). Collisions move to the next free position.
    """
    mask = np.uint64(len(table) - 1)
    slot = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(24)) & mask
    while table[slot] != 0 and table[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@compiled
def slot_of(table: Any, a: Any, b: Any) -> Any:
    """Return the position of a pair in the hash table, or the free position for it, and its key."""
    key = (np.uint64(min(a, b)) << np.uint64(32)) | np.uint64(max(a, b))
    return place_of(table, key), key
