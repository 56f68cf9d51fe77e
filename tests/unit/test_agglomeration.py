"""Agglomeration, against its definition in a few lines."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dacapo.errors import ChannelMismatchError, ConfigError
from dacapo.utils.agglomeration import Cut, Fragmented, agglomerate, merge_tree
from dacapo.utils.fragments import FragmentParameters, as_levels, tile_fragments, tile_slices, volume_fragments
from dacapo.utils.region_graph import RegionGraph, region_graph
from tests.helpers.segments import noisy_cells, same_parts

Values = npt.NDArray[Any]
QUANTILES = (None, 0.25, 0.5, 0.75, 1.0)


def score_of(values: list[int], quantile: float | None) -> Fraction:
    """Return the mean, or the least value that more than a part of all do not exceed, the highest for a part of 1."""
    if quantile is None:
        return Fraction(sum(values), len(values) * 255)
    return next(
        Fraction(value, 255)
        for value in sorted(values)
        if value == max(values) or sum(v <= value for v in values) > Fraction(quantile) * len(values)
    )


def by_definition(
    contacts: list[tuple[int, int, list[int]]], count: int, quantile: float | None, threshold: float
) -> Values:
    """Merge the two regions with the highest score, compute all scores anew, and repeat."""
    region = np.arange(count)
    while True:
        between: dict[tuple[int, int], tuple[list[int], int]] = {}
        for index, (u, v, values) in enumerate(contacts):
            pair = (min(region[u], region[v]), max(region[u], region[v]))
            if pair[0] != pair[1]:
                known, first = between.get(pair, ([], index))
                between[pair] = ([*known, *values], first)
        ranked = [(score_of(values, quantile), -first, pair) for pair, (values, first) in between.items()]
        best = max(ranked, default=None)
        if best is None or best[0] <= threshold:
            return region
        region[region == best[2][1]] = best[2][0]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, list[int]]]]:
    count = draw(st.integers(2, 12))
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] < pair[1])
    chosen = sorted(draw(st.sets(pairs, max_size=25)))
    levels = st.lists(st.sampled_from([0, 1, 90, 127, 128, 200, 254, 255]), min_size=1, max_size=5)
    return count, [(*pair, draw(levels)) for pair in chosen]


def as_graph(contacts: list[tuple[int, int, list[int]]]) -> RegionGraph:
    entries = [(u, v, level) for u, v, values in contacts for level in values]
    array = np.array(entries, dtype=np.int64).reshape(-1, 3)
    return RegionGraph.of(array[:, :2], array[:, 2], np.ones(len(array), dtype=np.int64))


@settings(max_examples=150, deadline=None)
@given(graphs(), st.sampled_from(QUANTILES), st.sampled_from([0.0, 0.3, 0.5, 0.6, 0.9, 1.0]))
def test_merges_are_those_of_the_definition(
    graph: tuple[int, list[tuple[int, int, list[int]]]], quantile: float | None, threshold: float
) -> None:
    count, contacts = graph
    expected = by_definition(contacts, count, quantile, threshold)
    sizes = np.ones(count, dtype=np.int64)
    whole = merge_tree(as_graph(contacts), count, quantile)
    assert (np.diff(whole.scores) <= 0).all()
    assert same_parts(whole.cut(sizes, threshold), expected + 1)
    # One tree holds the results of all thresholds.
    only = merge_tree(as_graph(contacts), count, quantile, threshold)
    np.testing.assert_array_equal(only.cut(sizes, threshold), whole.cut(sizes, threshold))


def test_large_random_graph_agrees_with_the_definition() -> None:
    rng = np.random.default_rng(3)
    pairs = sorted({(int(min(p)), int(max(p))) for p in rng.integers(0, 60, (300, 2)) if p[0] != p[1]})
    contacts = [(u, v, rng.integers(0, 256, rng.integers(1, 9)).tolist()) for u, v in pairs]
    for quantile in QUANTILES:
        tree = merge_tree(as_graph(contacts), 60, quantile)
        for threshold in (0.4, 0.6, 0.8):
            segments = tree.cut(np.ones(60, dtype=np.int64), threshold)
            assert same_parts(segments, by_definition(contacts, 60, quantile, threshold) + 1)


@pytest.mark.parametrize("dims", [2, 3])
def test_graph_counts_every_affinity_between_fragments(dims: int) -> None:
    rng = np.random.default_rng(dims)
    shape = (7, 6, 5)[:dims]
    fragments = rng.integers(0, 6, shape).astype(np.uint32)
    offsets = [tuple(sign * (axis == a) for a in range(dims)) for axis in range(dims) for sign in (1, -1)]
    levels = rng.integers(0, 256, (len(offsets), *shape)).astype(np.uint8)
    expected: dict[tuple[int, int, int], int] = {}
    for channel, offset in enumerate(offsets):
        for voxel in np.ndindex(*shape):
            other = tuple(v + o for v, o in zip(voxel, offset, strict=True))
            if all(0 <= o < s for o, s in zip(other, shape, strict=True)):
                u, v = sorted((int(fragments[voxel]), int(fragments[other])))
                if 0 < u < v:
                    key = (u, v, int(levels[(channel, *voxel)]))
                    expected[key] = expected.get(key, 0) + 1
    ends, found, counts = region_graph(fragments, levels, offsets).entries()
    assert {(int(u), int(v), int(n)): int(c) for (u, v), n, c in zip(ends, found, counts, strict=True)} == expected


def test_small_segments_go_on_merging_with_what_they_touch() -> None:
    contacts = [(0, 1, [200]), (1, 2, [100]), (2, 3, [50]), (0, 3, [20])]
    sizes = np.array([50, 50, 3, 50, 3])
    tree = merge_tree(as_graph(contacts), 5, least=-1.0)
    assert tree.cut(sizes, 0.5).tolist() == [1, 1, 2, 3, 4]
    # 2 joins 1, its best neighbor; 3 is large enough to stay; 4 touches nothing.
    assert tree.cut(sizes, 0.5, min_size=10).tolist() == [1, 1, 1, 2, 0]


@pytest.mark.parametrize("dims", [2, 3])
def test_cells_are_found(dims: int) -> None:
    rng = np.random.default_rng(5)
    shape = (64, 60, 56)[:dims]
    # Cells of 14 voxels with walls of 2 between them, noise, and a channel that agglomeration does not use.
    walls = np.zeros(shape, dtype=bool)
    cells = np.zeros(shape, dtype=np.int64)
    for grid in np.indices(shape):
        walls |= grid % 16 >= 14
        cells = cells * 5 + grid // 16
    offsets = [*(tuple(int(axis == a) for a in range(dims)) for axis in range(dims)), (5,) * dims]
    affinities = np.stack([np.clip(np.where(walls, 0.1, 0.9) + 0.05 * rng.standard_normal(shape), 0, 1)] * len(offsets))
    truth = np.where(walls, 0, cells + 1)
    for quantile in (None, 0.5):
        segments = agglomerate(affinities.astype(np.float32), offsets, 0.5, quantile)
        assert same_parts(segments, truth)
        np.testing.assert_array_equal(
            agglomerate(as_levels(affinities), offsets, 0.5, quantile, value_range=(0.0, 1.0)), segments
        )
    assert same_parts(agglomerate(affinities, offsets, 0.5, min_size=5), truth)


def test_fragments_of_a_tile_depend_on_nothing_outside() -> None:
    affinities, offsets = noisy_cells(40, 3)
    levels, parameters = as_levels(affinities[:3]), FragmentParameters(tile=16, seed_distance=2)
    labels, count = volume_fragments(levels, offsets[:3], parameters)
    assert count == labels.max() == len(np.unique(labels[labels > 0]))
    for where in tile_slices(labels.shape, 16):
        alone, _ = tile_fragments(levels[(slice(None), *where)], offsets[:3], parameters)
        assert same_parts(labels[where], alone)


def test_fragments_per_section_stay_in_their_section() -> None:
    affinities, offsets = noisy_cells(24, 3)
    levels = as_levels(affinities[:3])
    labels, _ = volume_fragments(levels, offsets[:3], FragmentParameters(per_section=True, seed_distance=2))
    sections = [set(np.unique(section[section > 0]).tolist()) for section in labels]
    assert sum(map(len, sections)) == len(set().union(*sections)) > 24
    levels[0] = 0  # affinities across sections do not matter
    again, _ = volume_fragments(levels, offsets[:3], FragmentParameters(per_section=True, seed_distance=2))
    np.testing.assert_array_equal(labels, again)


def test_volumes_without_background_and_without_foreground() -> None:
    offsets = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert (agglomerate(np.ones((3, 20, 20, 20)), offsets, 0.5) == 1).all()
    assert not agglomerate(np.zeros((3, 20, 20, 20)), offsets, 0.5).any()
    assert agglomerate(np.ones((3, 0, 4, 4)), offsets, 0.5).shape == (0, 4, 4)


def test_mistakes_are_named() -> None:
    affinities = np.ones((2, 8, 8))
    with pytest.raises(ConfigError, match="direct neighbor"):
        agglomerate(affinities, [(2, 0), (0, 3)], 0.5)
    with pytest.raises(ChannelMismatchError, match="3 offsets"):
        agglomerate(affinities, [(1, 0), (0, 1), (3, 0)], 0.5)
    with pytest.raises(ConfigError, match=r"quantile is 1\.5"):
        agglomerate(affinities, [(1, 0), (0, 1)], 0.5, quantile=1.5)
    with pytest.raises(ConfigError, match="NaN"):
        agglomerate(affinities * np.nan, [(1, 0), (0, 1)], 0.5)
    with pytest.raises(ConfigError, match="seed_distance"):
        FragmentParameters(seed_distance=0)
    with pytest.raises(ConfigError, match="within a section"):
        agglomerate(np.ones((1, 8, 8, 8)), [(1, 0, 0)], 0.5, parameters=FragmentParameters(per_section=True))


def test_uint8_of_another_range_is_converted() -> None:
    stored = np.array([0, 128, 255], dtype=np.uint8)
    assert as_levels(stored, (-1.0, 1.0)).tolist() == [0, 1, 255]
    assert as_levels(np.array([0, 32768, 65535], dtype=np.uint16), (0.0, 1.0)).tolist() == [0, 128, 255]


def test_a_tree_of_one_prediction_serves_all_thresholds() -> None:
    affinities, offsets = noisy_cells(32, 3)
    cuts = [Cut(0.65), Cut(0.55), Cut(0.6, quantile=0.5), Cut(0.65, min_size=100)]
    together = list(Fragmented.of(affinities, offsets).segmentations(cuts))
    for cut, labels in zip(cuts, together, strict=True):
        alone = agglomerate(affinities, offsets, cut.threshold, cut.quantile, cut.min_size)
        np.testing.assert_array_equal(labels, alone)
