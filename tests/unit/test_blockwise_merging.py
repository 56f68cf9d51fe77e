"""Joining segments: against connected components of the whole graph, and brute force."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dacapo.blockwise.segmentation import joining
from dacapo.blockwise.segmentation.joining import Joined, check_min_overlap, join_all, overlapping_pairs
from dacapo.errors import ConfigError

EDGES = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40)


def components(count: int, ends: np.ndarray) -> np.ndarray:
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    found: np.ndarray = connected_components(graph, directed=False)[1]
    return found


def check(joined: Joined, count: int, edges: np.ndarray) -> None:
    """The roots are the first segments of the components of the whole graph."""
    assert joined.nodes.tolist() == np.unique(edges).tolist()
    expected = components(count, edges)
    firsts = {c: int(np.flatnonzero(expected == c)[0]) for c in set(expected.tolist())}
    assert joined.nodes[joined.roots].tolist() == [firsts[expected[node]] for node in joined.nodes]


@given(st.lists(EDGES, max_size=5), st.sampled_from([1, 3, 1000]))
def test_roots_are_the_components_of_the_graph(batches: list[list[tuple[int, int]]], batch: int) -> None:
    arrays = [np.array(edges, dtype=np.uint64).reshape(-1, 2) for edges in batches]
    original, joining.BATCH = joining.BATCH, batch
    try:
        joined = join_all(lambda: arrays)
    finally:
        joining.BATCH = original
    check(joined, 20, np.concatenate([np.zeros((0, 2), np.uint64), *arrays]).astype(np.int64))


def test_no_segments() -> None:
    joined = join_all(lambda: [np.zeros((0, 2), np.uint64)])
    assert joined.nodes.tolist() == joined.roots.tolist() == []
    assert joined.totals([(0, np.array([3, 4]), np.array([1.0, 2.0]))])[0].tolist() == []


def test_long_chain_in_any_order() -> None:
    count = 3000
    edges = np.stack([np.arange(count - 1), np.arange(1, count)], axis=1)
    np.random.default_rng(0).shuffle(edges)
    joined = join_all(lambda: np.array_split(edges, 300))
    assert set(joined.roots) == {0}


def test_segments_with_large_numbers() -> None:
    """As in a volume of nearly 2^63 voxels."""
    top = (1 << 63) - 1
    edges = np.array([[top - 1, top - 5], [top - 5, 3]])
    joined = join_all(lambda: [edges])
    assert joined.nodes.tolist() == [3, top - 5, top - 1]
    assert joined.roots.tolist() == [0, 0, 0]
    assert joined.slice(top - 5, top) == slice(1, 3)


@given(EDGES, st.integers(1, 7))
def test_totals_by_brute_force(pairs: list[tuple[int, int]], step: int) -> None:
    edges = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    joined = join_all(lambda: [edges])
    sizes, sums = np.arange(20) ** 2, np.arange(20) - 9.5
    runs = [(begin, sizes[begin : begin + step], sums[begin : begin + step]) for begin in range(0, 20, step)]
    got = joined.totals(runs)
    expected = components(20, edges)
    for root in set(joined.roots.tolist()):
        same = expected == expected[joined.nodes[root]]
        assert got[0][root] == sizes[same].sum()
        assert got[1][root] == pytest.approx(sums[same].sum())


def test_memory_does_not_grow_with_the_number_of_pairs(tmp_path: Path) -> None:
    """Thousands of segments with millions of pairs on disk, a sixteenth of which fits into the memory that is used."""
    rng = np.random.default_rng(0)
    names = 16
    for name in range(names):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 1 << 12, (1 << 17, 2)) * 1000)

    def edges() -> Iterator[np.ndarray]:
        for name in range(names):
            yield np.load(tmp_path / f"{name}.npy")

    join_all(lambda: [np.array([[0, 1]])])  # imports
    original, joining.BATCH = joining.BATCH, 1 << 12
    tracemalloc.start()
    try:
        joined = join_all(edges)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        joining.BATCH = original
    assert len(joined.nodes) == 1 << 12
    assert peak < 3 * (1 << 17) * 16 < names * (1 << 17) * 16 / 5


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60), st.sampled_from([0.0, 0.2, 0.5, 0.9]))
def test_pairs_by_brute_force(voxels: list[tuple[int, int]], min_overlap: float) -> None:
    values = np.array(voxels, dtype=np.uint64).reshape(-1, 2)
    foreground = [(a, b) for a, b in voxels if a and b]
    expected = []
    for pair in sorted(set(foreground)):
        smaller = min(sum(a == pair[0] for a, _ in foreground), sum(b == pair[1] for _, b in foreground))
        if foreground.count(pair) > min_overlap * smaller:
            expected.append(list(pair))
    assert overlapping_pairs(values[:, 0], values[:, 1], min_overlap).tolist() == expected


def test_pairs_keep_all_64_bits() -> None:
    large = np.array([2**63 + 1, 2**63 + 2], dtype=np.uint64)
    assert overlapping_pairs(large, large[::-1]).tolist() == [[2**63 + 1, 2**63 + 2], [2**63 + 2, 2**63 + 1]]


@pytest.mark.parametrize("value", [-0.1, 1, 7, float("nan")])
def test_no_part_of_a_whole(value: float) -> None:
    with pytest.raises(ConfigError, match="min_overlap"):
        check_min_overlap(value)
