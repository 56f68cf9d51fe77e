"""Joining segments: against connected components of the whole graph, and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dacapo.blockwise import merging
from dacapo.blockwise.merging import check_min_overlap, merged_labels, overlapping_pairs
from dacapo.errors import ConfigError

EDGES = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40)


@given(st.lists(EDGES, max_size=5), st.sampled_from([1, 3, 1000]))
def test_labels_are_the_components_of_the_graph(batches: list[list[tuple[int, int]]], batch: int) -> None:
    count = 20
    arrays = [np.array(edges, dtype=np.uint64).reshape(-1, 2) for edges in batches]
    original, merging.BATCH = merging.BATCH, batch
    try:
        labels = merged_labels(count, arrays)
    finally:
        merging.BATCH = original
    ends = np.concatenate([np.zeros((0, 2), np.uint64), *arrays]).astype(int)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    components, expected = connected_components(graph, directed=False)
    assert sorted(set(labels)) == list(range(1, components + 1))
    assert len(set(zip(labels, expected, strict=True))) == components
    firsts = [int(np.flatnonzero(labels == label)[0]) for label in range(1, components + 1)]
    assert firsts == sorted(firsts)


def test_no_segments() -> None:
    assert merged_labels(0, []).tolist() == []


def test_long_chain_in_any_order() -> None:
    count = 3000
    edges = np.stack([np.arange(count - 1), np.arange(1, count)], axis=1)
    np.random.default_rng(0).shuffle(edges)
    assert set(merged_labels(count, np.array_split(edges, 300))) == {1}


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
