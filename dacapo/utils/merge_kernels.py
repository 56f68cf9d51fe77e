"""Kernels of hierarchical merging: regions of a graph, two at a time, the highest score first. Importing loads Numba.

An edge joins two regions, and its score is the mean or a quantile of the affinities between them. When two regions
merge, two edges to a common neighbor become one, which holds the affinities of both. Its score is never above the
higher of theirs, so the scores of successive merges never rise.

Edges wait in a binary heap that knows the place of each, so that a score can change. A hash table finds the edge
between two regions, and each region has a linked list of its edges; merging visits the shorter of two lists. Dead edges
are dropped from a list when it is visited.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dacapo.utils.kernels import compiled, find, slot_of

MEAN = -1
"""In place of a quantile: score edges by the mean of their affinities."""

QUANTILE_STEPS = 10_000
"""Quantiles are numbers out of this, so that comparing them needs no rounding."""

HIGHEST = 255
"""The level of affinity 1."""


class Histograms(NamedTuple):
    """The affinities of all edges, as linked lists of levels in ascending order; empty for means.

    Attributes:
        first: For each edge the first entry of its list.
        levels: The level of each entry.
        counts: Its number of affinities.
        following: The next entry of the list, -1 at the end.
    """

    first: Any
    levels: Any
    counts: Any
    following: Any


class Edges(NamedTuple):
    """The edges that are left.

    Attributes:
        ends: The two regions of each edge.
        links: For each end the next entry, ``edge << 1 | side``, in the list of its region; -1 at the end.
        sums: Sum of the levels of each edge.
        counts: Number of its affinities.
        scores: Its score.
        ranks: The first of the original edges that became this one; ties go to lower ranks.
        heap: Edges as a binary heap, best first.
        places: Place of each edge in the heap, -1 for dead edges.
    """

    ends: Any
    links: Any
    sums: Any
    counts: Any
    scores: Any
    ranks: Any
    heap: Any
    places: Any


@compiled
def _score(edge: Any, edges: Any, histograms: Any, quantile: Any) -> Any:
    """Return the mean affinity of an edge, or the least that more than the part ``quantile`` of all do not exceed."""
    if quantile < 0:
        return edges.sums[edge] / edges.counts[edge] / HIGHEST
    entry = histograms.first[edge]
    so_far = histograms.counts[entry]
    while so_far * QUANTILE_STEPS <= quantile * edges.counts[edge] and histograms.following[entry] >= 0:
        entry = histograms.following[entry]
        so_far += histograms.counts[entry]
    return histograms.levels[entry] / HIGHEST


@compiled
def _is_before(a: Any, b: Any, edges: Any) -> Any:
    if edges.scores[a] != edges.scores[b]:
        return edges.scores[a] > edges.scores[b]
    return edges.ranks[a] < edges.ranks[b]


@compiled
def _settle(place: Any, size: Any, edges: Any) -> None:
    """Move the edge at a place of the heap up or down to where it belongs."""
    heap, places = edges.heap, edges.places
    edge = heap[place]
    while place > 0 and _is_before(edge, heap[(place - 1) // 2], edges):
        heap[place] = heap[(place - 1) // 2]
        places[heap[place]] = place
        place = (place - 1) // 2
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and _is_before(heap[child + 1], heap[child], edges):
            child += 1
        if not _is_before(heap[child], edge, edges):
            break
        heap[place] = heap[child]
        places[heap[place]] = place
        place = child
    heap[place] = edge
    places[edge] = place


@compiled
def _remove(edge: Any, size: Any, edges: Any) -> Any:
    """Remove an edge from the heap, and return the new size of the heap."""
    place = edges.places[edge]
    edges.places[edge] = -1
    if place != size - 1:
        edges.heap[place] = edges.heap[size - 1]
        edges.places[edges.heap[place]] = place
        _settle(place, size - 1, edges)
    return size - 1


@compiled
def _merge_histograms(edge: Any, other: Any, histograms: Any) -> None:
    """Merge the list of another edge into that of an edge."""
    first, levels, counts, following = histograms
    here, there, last = first[edge], first[other], -1
    while there >= 0:
        if here >= 0 and levels[here] < levels[there]:
            last, here = here, following[here]
        elif here >= 0 and levels[here] == levels[there]:
            counts[here] += counts[there]
            there = following[there]
        else:
            after = following[there]
            following[there] = here
            if last < 0:
                first[edge] = there
            else:
                following[last] = there
            last, there = there, after


@compiled
def _grown(table: Any, found: Any, edges: Any) -> Any:
    """Return a hash table of the living edges, at most a quarter full."""
    alive = 0
    for edge in edges.places:
        alive += edge >= 0
    size = 1 << 10
    while size < 4 * alive:
        size *= 2
    table, found = np.zeros(size, np.uint64), np.zeros(size, np.int32)
    for edge in range(len(edges.places)):
        if edges.places[edge] >= 0:
            slot, key = slot_of(table, edges.ends[edge, 0], edges.ends[edge, 1])
            table[slot] = key
            found[slot] = edge
    return table, found, alive


@compiled
def _prepend(edge: Any, side: Any, heads: Any, degrees: Any, edges: Any) -> None:
    region = edges.ends[edge, side]
    edges.links[edge, side] = heads[region]
    heads[region] = np.int64(edge) << 1 | side
    degrees[region] += 1


@compiled
def merge_all(count: int, edges: Any, histograms: Any, quantile: int, least: float, merges: Any, scores: Any) -> int:
    """Merge regions as long as the best score is above a limit.

    Args:
        count: Number of regions.
        edges: The edges; ``ends``, ``sums``, ``counts`` and ``ranks`` are given, the others are overwritten.
        histograms: Their affinities, for quantiles.
        quantile: The quantile, of :data:`QUANTILE_STEPS`, or :data:`MEAN`.
        least: The limit.
        merges: For each merge the rank of its edge.
        scores: Its score.

    Returns:
        The number of merges.
    """
    size = len(edges.ends)
    heads, degrees = np.full(count, -1, np.int64), np.zeros(count, np.int64)
    for edge in range(size):
        edges.scores[edge] = _score(edge, edges, histograms, quantile)
        edges.heap[edge] = edges.places[edge] = edge
        _prepend(edge, 0, heads, degrees, edges)
        _prepend(edge, 1, heads, degrees, edges)
    for place in range(size):
        _settle(place, place + 1, edges)
    table, found, filled = _grown(np.zeros(0, np.uint64), np.zeros(0, np.int32), edges)
    done = 0
    while size > 0 and edges.scores[edges.heap[0]] > least:
        best = edges.heap[0]
        merges[done], scores[done] = edges.ranks[best], edges.scores[best]
        done += 1
        size = _remove(best, size, edges)
        into, gone = edges.ends[best, 0], edges.ends[best, 1]
        if degrees[into] < degrees[gone]:
            into, gone = gone, into
        entry = heads[gone]
        while entry >= 0:
            edge, side = entry >> 1, entry & 1
            entry = edges.links[edge, side]
            if edges.places[edge] < 0:
                continue
            other = edges.ends[edge, 1 - side]
            slot, key = slot_of(table, into, other)
            if table[slot] != 0 and edges.places[found[slot]] >= 0:
                kept = found[slot]
                edges.sums[kept] += edges.sums[edge]
                edges.counts[kept] += edges.counts[edge]
                edges.ranks[kept] = min(edges.ranks[kept], edges.ranks[edge])
                if quantile >= 0:
                    _merge_histograms(kept, edge, histograms)
                size = _remove(edge, size, edges)
                degrees[other] -= 1
                edges.scores[kept] = _score(kept, edges, histograms, quantile)
                _settle(edges.places[kept], size, edges)
                continue
            edges.ends[edge, side] = into
            _prepend(edge, side, heads, degrees, edges)
            filled += table[slot] == 0
            table[slot] = key
            found[slot] = edge
            if 2 * filled > len(table):
                table, found, filled = _grown(table, found, edges)
    return done


@compiled
def join(parent: Any, ends: Any, merges: Any, sizes: Any, always: int, min_size: int) -> None:
    """Join the fragments of the first merges, then those of the others that have a small side.

    Args:
        parent: A union-find forest of the fragments, in which the lowest one represents the others.
        ends: The fragments of each original edge.
        merges: The original edge of each merge.
        sizes: Number of voxels of each fragment; that of a joined set is at its representative.
        always: The number of merges that are done in any case.
        min_size: Sets of fewer voxels are small.
    """
    for index in range(len(merges)):
        a, b = find(parent, ends[merges[index], 0]), find(parent, ends[merges[index], 1])
        if a != b and (index < always or min(sizes[a], sizes[b]) < min_size):
            parent[max(a, b)] = min(a, b)
            sizes[min(a, b)] += sizes[max(a, b)]
    for node in range(len(parent)):
        parent[node] = find(parent, node)
