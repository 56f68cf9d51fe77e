"""Kernels of the mutex watershed (Wolf et al., ECCV 2018), compiled by Numba on first use.

The algorithm is that of Kruskal with two kinds of edges, processed in descending order of their distance from the bias:
an attractive edge (above the bias) merges two clusters unless a mutual exclusion forbids it, and a repulsive edge
(below it) adds a mutual exclusion between two clusters.

An edge between two voxels is encoded as one number, ``channel << bits | voxel``, which sorts by (channel, voxel).
Volumes have three axes here; those with two get a leading one of length 1. Edges form one group or two groups, which
can have different biases. Affinities keep their stored type; ``levels`` maps integers to affinities, and is None for
floating point numbers.

Clusters are a union-find forest with path halving. Mutual exclusions are stored in two ways, because most repulsive
edges are processed while their voxels are still single, and storing those would dominate memory. Between clusters of
several voxels, pairs of representatives are kept in a hash table, for a constant-time test, and each representative
has a linked list of the others, so that merging two clusters only visits the shorter list. For a single voxel nothing
is stored: its exclusions are its repulsive edges farther from the bias than the current edge, found by reading the
affinities at the voxel when it is about to be merged.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dacapo.utils.kernels import compiled, find, slot_of

RADIX_BITS = 11
"""Number of key bits that one pass of the radix sort handles."""

USED, FREE, FILLED = 0, 1, 2
"""Indices of the counters: used entries of the pool, first free entry, and pairs in the hash table."""


class Graph(NamedTuple):
    """The part of the problem that does not depend on the bias.

    Attributes:
        edges: Affinities of the edges from each voxel, one row per voxel and one column per channel; missing edges have
            the highest value of the type.
        least: For each group and each voxel the least affinity of its incoming and outgoing edges.
        levels: Affinity of each integer.
        groups: The group of each channel.
        steps: The step of each channel.
        strides: Index distance from the first voxel of an edge to the other, by channel.
        bits: Number of bits of an edge's code that hold the voxel.
    """

    edges: Any
    least: Any
    levels: Any
    groups: Any
    steps: Any
    strides: Any
    bits: Any


class Sorted(NamedTuple):
    """The edges of a group in descending order of affinity, ties in ascending order of their codes."""

    codes: Any
    values: Any


class Clusters(NamedTuple):
    """The current clusters.

    Attributes:
        parent: Parent of each voxel in the union-find forest; representatives are their own parent.
        heads: For each representative the first entry of its list of mutual exclusions, -1 for none.
        sizes: Length of its list; -1 for single voxels.
        counters: See the constants.
    """

    parent: Any
    heads: Any
    sizes: Any
    counters: Any


@compiled
def _box(shape: Any, step: Any) -> Any:
    """Return begin and end along each axis of the voxels from which a step stays inside the volume."""
    bounds = np.zeros((3, 2), np.int64)
    for axis in range(3):
        bounds[axis, 0] = max(0, -step[axis])
        bounds[axis, 1] = shape[axis] - max(0, step[axis])
    return bounds


@compiled
def list_edges(affinities: Any, channels: Any, steps: Any, bits: Any, keys: Any, codes: Any) -> None:
    """Write the affinity and the code of each edge, channel by channel."""
    shape = affinities.shape[1:]
    at = 0
    for channel in channels:
        box = _box(shape, steps[channel])
        above = channel << bits
        for z in range(box[0, 0], box[0, 1]):
            for y in range(box[1, 0], box[1, 1]):
                row = (z * shape[1] + y) * shape[2]
                for x in range(box[2, 0], box[2, 1]):
                    keys[at] = affinities[channel, z, y, x]
                    codes[at] = above | (row + x)
                    at += 1


@compiled
def count_levels(affinities: Any, channels: Any, steps: Any, counts: Any) -> None:
    """Count the edges of each level, for a counting sort."""
    shape = affinities.shape[1:]
    for channel in channels:
        box = _box(shape, steps[channel])
        for z in range(box[0, 0], box[0, 1]):
            for y in range(box[1, 0], box[1, 1]):
                for x in range(box[2, 0], box[2, 1]):
                    counts[affinities[channel, z, y, x]] += 1


@compiled
def place_levels(affinities: Any, channels: Any, steps: Any, bits: Any, places: Any, codes: Any) -> None:
    """Write each edge to the next position of its level, the second half of the counting sort."""
    shape = affinities.shape[1:]
    for channel in channels:
        box = _box(shape, steps[channel])
        above = channel << bits
        for z in range(box[0, 0], box[0, 1]):
            for y in range(box[1, 0], box[1, 1]):
                row = (z * shape[1] + y) * shape[2]
                for x in range(box[2, 0], box[2, 1]):
                    level = affinities[channel, z, y, x]
                    codes[places[level]] = above | (row + x)
                    places[level] += 1


@compiled
def sort_pass(keys: Any, codes: Any, sorted_keys: Any, sorted_codes: Any, shift: Any) -> None:
    """Sort stably by the bits of the keys from ``shift`` on, ascending: one pass of a radix sort."""
    mask = (1 << RADIX_BITS) - 1
    places = np.zeros(mask + 2, np.int64)
    for i in range(len(keys)):
        places[np.int64((keys[i] >> shift) & mask) + 1] += 1
    for digit in range(mask):
        places[digit + 1] += places[digit]
    for i in range(len(keys)):
        own = np.int64((keys[i] >> shift) & mask)
        sorted_keys[places[own]] = keys[i]
        sorted_codes[places[own]] = codes[i]
        places[own] += 1


@compiled
def spread(affinities: Any, steps: Any, groups: Any, table: Any, least: Any) -> None:
    """Fill the table of the edges of each voxel, one row per voxel, and the least affinity at each voxel per group."""
    shape = affinities.shape[1:]
    for channel in range(len(steps)):
        box = _box(shape, steps[channel])
        stride = (steps[channel, 0] * shape[1] + steps[channel, 1]) * shape[2] + steps[channel, 2]
        lowest = least[groups[channel]]
        for z in range(box[0, 0], box[0, 1]):
            for y in range(box[1, 0], box[1, 1]):
                row = (z * shape[1] + y) * shape[2]
                for x in range(box[2, 0], box[2, 1]):
                    value = affinities[channel, z, y, x]
                    here, there = row + x, row + x + stride
                    table[here, channel] = value
                    lowest[here] = min(lowest[here], value)
                    lowest[there] = min(lowest[there], value)


@compiled
def _weight(value: Any, levels: Any) -> Any:
    """Return an affinity for comparison; ``levels`` maps integers to affinities, None for floating point numbers."""
    if levels is None:
        return np.float64(value)
    return levels[value]


@compiled
def _first_not_above(values: Any, levels: Any, bias: Any) -> Any:
    """Return the index of the first of descending affinities that does not exceed the bias."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if _weight(values[middle], levels) > bias:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _grown_table(table: Any, more: int, clusters: Any) -> Any:
    """Return a table with room for more pairs; a full one is rebuilt without pairs of former representatives."""
    counters, parent = clusters.counters, clusters.parent
    if 2 * (counters[FILLED] + more) <= len(table):
        return table
    low = np.uint64(0xFFFFFFFF)
    alive = 0
    for key in table:
        a, b = np.int64(key >> np.uint64(32)), np.int64(key & low)
        if key != 0 and parent[a] == a and parent[b] == b:
            alive += 1
    size = len(table)
    while size < 4 * (alive + more):
        size *= 2
    cleaned = np.zeros(size, np.uint64)
    for key in table:
        a, b = np.int64(key >> np.uint64(32)), np.int64(key & low)
        if key != 0 and parent[a] == a and parent[b] == b:
            slot, _ = slot_of(cleaned, a, b)
            cleaned[slot] = key
    counters[FILLED] = alive
    return cleaned


@compiled
def _grown_pool(pool: Any, more: int, clusters: Any) -> Any:
    """Return a pool with room for more list entries."""
    if clusters.counters[USED] + more <= len(pool):
        return pool
    longer = np.empty((2 * (len(pool) + more), 2), pool.dtype)
    longer[: len(pool)] = pool
    return longer


@compiled
def _prepend(owner: Any, other: Any, clusters: Any, pool: Any) -> None:
    """Add an entry to the list of a representative."""
    counters = clusters.counters
    entry = counters[FREE]
    if entry >= 0:
        counters[FREE] = pool[entry, 1]
    else:
        entry = counters[USED]
        counters[USED] += 1
    pool[entry, 0] = other
    pool[entry, 1] = clusters.heads[owner]
    clusters.heads[owner] = entry
    clusters.sizes[owner] += 1


@compiled
def _add_exclusion(a: Any, b: Any, clusters: Any, pool: Any, table: Any) -> None:
    """Add a mutual exclusion between two representatives of clusters with several voxels."""
    slot, key = slot_of(table, a, b)
    if table[slot] == 0:
        table[slot] = key
        clusters.counters[FILLED] += 1
        _prepend(a, b, clusters, pool)
        _prepend(b, a, clusters, pool)


@compiled
def _merge_exclusions(a: Any, b: Any, clusters: Any, pool: Any, table: Any) -> None:
    """Merge the mutual exclusions of the second representative into those of the first."""
    parent, heads, counters = clusters.parent, clusters.heads, clusters.counters
    parent[b] = a
    entry = heads[b]
    while entry >= 0:
        after = pool[entry, 1]
        other = find(parent, pool[entry, 0])
        slot, key = slot_of(table, a, other)
        if table[slot] == 0:
            table[slot] = key
            counters[FILLED] += 1
            pool[entry, 0] = other
            pool[entry, 1] = heads[a]
            heads[a] = entry
            clusters.sizes[a] += 1
        else:
            pool[entry, 1] = counters[FREE]
            counters[FREE] = entry
        entry = after


@compiled
def _exclusions_of(voxel: Any, here: Any, graph: Any, biases: Any, parent: Any, found: Any) -> Any:
    """Write the representatives that a single voxel's repulsive edges exclude so far; return their number."""
    near = biases[0] - _weight(graph.least[0, voxel], graph.levels) <= here
    if near and biases[1] - _weight(graph.least[1, voxel], graph.levels) <= here:
        return 0
    count = 0
    for channel in range(len(graph.strides)):
        bias = biases[graph.groups[channel]]
        # The outgoing edge of this voxel, and the incoming one. Missing edges are above every bias.
        if bias - _weight(graph.edges[voxel, channel], graph.levels) > here:
            found[count] = find(parent, voxel + graph.strides[channel])
            count += 1
        before = voxel - graph.strides[channel]
        if 0 <= before < len(parent) and bias - _weight(graph.edges[before, channel], graph.levels) > here:
            found[count] = find(parent, before)
            count += 1
    return count


@compiled
def _merge_clusters(a: Any, b: Any, clusters: Any, pool: Any, table: Any) -> None:
    """Merge two clusters of several voxels, unless they exclude each other."""
    sizes = clusters.sizes
    if sizes[a] > 0 and sizes[b] > 0:
        slot, _ = slot_of(table, a, b)
        if table[slot] != 0:
            return
    if sizes[a] < sizes[b]:
        a, b = b, a
    _merge_exclusions(a, b, clusters, pool, table)


@compiled
def _merge_single(
    a: Any, b: Any, here: Any, graph: Any, biases: Any, clusters: Any, found: Any, pool: Any, table: Any
) -> None:
    """Merge two clusters of which at least one is a single voxel, unless they exclude each other."""
    sizes, parent = clusters.sizes, clusters.parent
    if sizes[b] >= 0:
        a, b = b, a
    count = _exclusions_of(b, here, graph, biases, parent, found)
    for i in range(count):
        if found[i] == a:
            return
    if sizes[a] < 0:
        count += _exclusions_of(a, here, graph, biases, parent, found[count:])
    parent[b] = a
    sizes[b] = 0
    sizes[a] = max(sizes[a], 0)
    for i in range(count):
        if sizes[found[i]] >= 0:
            _add_exclusion(a, found[i], clusters, pool, table)


@compiled
def _sequences(groups: Any, levels: Any, biases: Any) -> Any:
    """Return begin, end and first distance from the bias of the four sequences of edges.

    The sequences are the attractive edges of both groups, then the repulsive edges of both.
    """
    position, stop, distance = np.zeros(4, np.int64), np.zeros(4, np.int64), np.full(4, -1.0)
    for k in range(4):
        values = groups[k % 2].values
        middle = _first_not_above(values, levels, biases[k % 2])
        position[k], stop[k] = (len(values) - 1, middle - 1) if k >= 2 else (0, middle)
        if position[k] != stop[k]:
            distance[k] = abs(_weight(values[position[k]], levels) - biases[k % 2])
    return position, stop, distance


@compiled
def _next_distances(distance: Any, k: Any) -> Any:
    """Return the largest distance from the bias of the next edges of the sequences before one, and of those after."""
    before, after = 0.0, 0.0
    for other in range(4):
        if other < k:
            before = max(before, distance[other])
        elif other > k:
            after = max(after, distance[other])
    return before, after


@compiled
def cluster(parent: Any, groups: Any, graph: Any, biases: Any) -> None:
    """Cluster voxels by the mutex watershed (Wolf et al. 2018, algorithm 1), edges farthest from the bias first.

    Ties go to attractive edges, then to the first group, then to the lower code.

    The sorted edges of both groups do not depend on the bias. Around its bias each falls into two sequences, attractive
    and repulsive, in which the distance from the bias descends, so a merge of four sequences replaces sorting again.

    Args:
        parent: A forest of voxels already known to be joined; becomes that of the segments.
        groups: The edges of two groups, without those inside joined voxels.
        graph: The part of the problem that does not depend on the bias.
        biases: Bias of each group.
    """
    count = len(parent)
    clusters = Clusters(parent, np.full(count, -1, np.int32), np.full(count, -1, np.int32), np.array([0, -1, 0]))
    for voxel in range(count):
        if parent[voxel] != voxel:
            clusters.sizes[voxel] = clusters.sizes[parent[voxel]] = 0
    sizes, counters = clusters.sizes, clusters.counters
    pool, table = np.empty((1 << 10, 2), np.int32), np.zeros(1 << 10, np.uint64)
    found = np.empty(4 * len(graph.strides), np.int64)
    mask = (1 << graph.bits) - 1
    position, stop, distance = _sequences(groups, graph.levels, biases)
    need = len(found)
    while True:
        k = np.argmax(distance)
        here = distance[k]
        if here <= 0:
            return
        before, after = _next_distances(distance, k)
        codes, values = groups[k % 2].codes, groups[k % 2].values
        bias, apart, index = biases[k % 2], k >= 2, position[k]
        pool, table = _grown_pool(pool, 2 * len(found), clusters), _grown_table(table, need, clusters)
        need = len(found)
        # Stay in this sequence while it has the farthest edge, and the pool and table have room.
        while here > before and here >= after:
            if counters[USED] + 2 * need > len(pool) or 2 * (counters[FILLED] + need) > len(table):
                break
            code = np.int64(codes[index])
            u = code & mask
            v = u + graph.strides[code >> graph.bits]
            if apart:
                if sizes[u] >= 0 and sizes[v] >= 0:
                    a, b = find(parent, u), find(parent, v)
                    if a != b:
                        _add_exclusion(a, b, clusters, pool, table)
            elif parent[u] != parent[v]:
                a, b = find(parent, u), find(parent, v)
                if a != b:
                    if sizes[a] < 0 or sizes[b] < 0:
                        _merge_single(a, b, here, graph, biases, clusters, found, pool, table)
                    else:
                        more = min(sizes[a], sizes[b])
                        if 2 * (counters[FILLED] + more) > len(table):
                            need = max(need, more)
                            break
                        _merge_clusters(a, b, clusters, pool, table)
            index += -1 if apart else 1
            here = -1.0 if index == stop[k] else abs(_weight(values[index], graph.levels) - bias)
        position[k], distance[k] = index, here


@compiled
def contract(parent: Any, least: Any, edges: Any, graph: Any, bias: float) -> int:
    """Merge voxels that this bias and all lower ones join, and drop the edges inside the merged clusters.

    The first attractive edge from a cluster to another merges them if no repulsive edge of the cluster is farther from
    the bias: nothing else happens to the cluster before, so the merge may as well be done at once. A lower bias moves
    attractive edges forward in the order and repulsive ones back, so the condition also holds for all lower biases.

    Args:
        parent: The forest of merged voxels, for this bias or a higher one. Changed.
        least: For each representative the least affinity of the edges at its cluster. Changed.
        edges: The edges of the only group. Its first entries become the remaining edges.
        graph: The part of the problem that does not depend on the bias.
        bias: The bias.

    Returns:
        The number of remaining edges.
    """
    codes, values = edges.codes, edges.values
    middle = _first_not_above(values, graph.levels, bias)
    mask = (1 << graph.bits) - 1
    not_first = np.zeros(len(parent), np.bool_)  # clusters with an earlier edge to another cluster
    left = 0
    for index in range(len(codes)):
        code = np.int64(codes[index])
        u = code & mask
        v = u + graph.strides[code >> graph.bits]
        if parent[u] == parent[v]:
            continue
        a, b = find(parent, u), find(parent, v)
        if a == b:
            continue
        if index < middle:
            here = _weight(values[index], graph.levels) - bias
            if (not not_first[a] and here > bias - _weight(least[a], graph.levels)) or (
                not not_first[b] and here > bias - _weight(least[b], graph.levels)
            ):
                parent[b] = a
                least[a] = min(least[a], least[b])
                not_first[a] |= not_first[b]
                continue
            not_first[a] = not_first[b] = True
        codes[left] = codes[index]
        values[left] = values[index]
        left += 1
    return left


@compiled
def _is_attracted(voxel: Any, shape: Any, graph: Any, biases: Any) -> bool:
    """Return whether any edge at a voxel is above the bias."""
    z, y, x = voxel // (shape[1] * shape[2]), voxel // shape[2] % shape[1], voxel % shape[2]
    for channel in range(len(graph.steps)):
        step, bias = graph.steps[channel], biases[graph.groups[channel]]
        for sign, first in ((1, voxel), (-1, voxel - graph.strides[channel])):
            to_z, to_y, to_x = z + sign * step[0], y + sign * step[1], x + sign * step[2]
            inside = 0 <= to_z < shape[0] and 0 <= to_y < shape[1] and 0 <= to_x < shape[2]
            if inside and _weight(graph.edges[first, channel], graph.levels) > bias:
                return True
    return False


@compiled
def number(parent: Any, shape: Any, graph: Any, biases: Any, sums: Any, labels: Any) -> int:
    """Number the sets of a forest in the order of their first voxels, and return their number.

    Voxels without an attractive edge become 0, and so do sets whose sum is below the first bias times the number of
    voxels, if sums are given.
    """
    count = len(parent)
    sizes = np.zeros(count, np.int32)
    totals = np.zeros(count if len(sums) else 0, np.float64)
    for voxel in range(count):
        root = find(parent, voxel)
        parent[voxel] = root
        sizes[root] += 1
        if len(sums):
            totals[root] += sums[voxel]
    last = 0
    names = np.zeros(count, np.int32)
    for voxel in range(count):
        root = parent[voxel]
        if names[root] == 0:
            weak = len(sums) and totals[root] < biases[0] * sizes[root]
            if weak or (sizes[root] == 1 and not _is_attracted(voxel, shape, graph, biases)):
                names[root] = -1
            else:
                last += 1
                names[root] = last
        labels[voxel] = max(names[root], 0)
    return last
