"""The mutex watershed, against its definition in a few lines, and against mwatershed."""

from __future__ import annotations

from typing import Any

import mwatershed
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dacapo.errors import ConfigError
from dacapo.utils import sorted_affinities
from dacapo.utils.quantize import dequantize
from dacapo.utils.segmentation import MutexWatershedParameters, absorb_small, mutex_watershed, mutex_watersheds
from tests.helpers.segments import noisy_cells, same_parts

Offsets = list[tuple[int, ...]]
Values = npt.NDArray[Any]


def by_definition(affinities: Values, offsets: Offsets, bias: float, long_range_bias: float | None = None) -> Values:
    """Take edge after edge, and keep the pairs that exclude each other in a set."""
    shape = affinities.shape[1:]
    edges = []
    for channel, offset in enumerate(offsets):
        near = sum(map(abs, offset)) == 1
        own_bias = bias if near or long_range_bias is None else long_range_bias
        for voxel in np.ndindex(*shape):
            other = tuple(v + o for v, o in zip(voxel, offset, strict=True))
            if all(0 <= v < s for v, s in zip(other, shape, strict=True)):
                weight = float(affinities[(channel, *voxel)]) - own_bias
                ends = np.ravel_multi_index(voxel, shape), np.ravel_multi_index(other, shape)
                edges.append(((-abs(weight), weight <= 0, not near, channel, int(ends[0])), weight, ends))
    cluster = np.arange(int(np.prod(shape)))
    apart: set[tuple[int, int]] = set()
    for _, weight, (u, v) in sorted(edges):
        a, b = sorted((int(cluster[u]), int(cluster[v])))
        if weight < 0 and a != b:
            apart.add((a, b))
        elif weight > 0 and a != b and (a, b) not in apart:
            cluster[cluster == b] = a
            renamed = (tuple(sorted((a if x == b else x, a if y == b else y))) for x, y in apart)
            apart = {(x, y) for x, y in renamed}
    return cluster.reshape(shape)


def attracted(affinities: Values, offsets: Offsets, bias: float, long_range_bias: float | None) -> Values:
    """Mark the voxels that have an affinity above the bias."""
    marked = np.zeros(affinities.shape[1:], dtype=bool)
    for channel, offset in zip(affinities, offsets, strict=False):
        near = sum(map(abs, offset)) == 1
        own_bias = bias if near or long_range_bias is None else long_range_bias
        for voxel in np.argwhere(channel > own_bias).tolist():
            other = tuple(v + o for v, o in zip(voxel, offset, strict=True))
            if any(offset) and all(0 <= v < s for v, s in zip(other, marked.shape, strict=True)):
                marked[tuple(voxel)] = marked[other] = True
    return marked


def segments_by_definition(
    affinities: Values, offsets: Offsets, bias: float, long_range_bias: float | None = None
) -> Values:
    """Number the clusters as they come, but those of one voxel that nothing attracts and weak ones."""
    cluster = by_definition(affinities, offsets, bias, long_range_bias)
    can_join = attracted(affinities, offsets, bias, long_range_bias)
    mean = affinities.astype(np.float64).mean(axis=0)
    labels = np.zeros(cluster.shape, dtype=np.uint64)
    last = 0
    for first in cluster.ravel()[np.sort(np.unique(cluster, return_index=True)[1])]:
        inside = cluster == first
        if can_join[inside].any() and mean[inside].sum() >= bias * inside.sum() - 1e-12:
            last += 1
            labels[inside] = last
    return labels


@st.composite
def cases(draw: st.DrawFn) -> tuple[Values, Offsets]:
    """Return affinities of few levels, so that many are equal, or of none alike."""
    dims = draw(st.sampled_from([2, 3]))
    shape = draw(st.tuples(*[st.integers(1, 6 if dims == 2 else 4)] * dims))
    step = st.tuples(*[st.integers(-3, 3)] * dims)
    offsets = draw(st.lists(step, min_size=1, max_size=5))
    near = [tuple(int(axis == a) for a in range(dims)) for axis in range(dims)]
    offsets = draw(st.permutations([*near[: draw(st.integers(0, dims))], *offsets]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = rng.random((len(offsets) + draw(st.integers(0, 1)), *shape))
    levels = draw(st.sampled_from([None, 2, 4, 10]))
    if levels is not None:
        values = np.round(values * levels) / levels
    return values.astype(draw(st.sampled_from([np.float32, np.float64]))), offsets


BIASES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.6, 0.75, 0.9, 1.0])


@given(cases(), BIASES, st.one_of(st.none(), BIASES))
def test_equals_the_definition(case: tuple[Values, Offsets], bias: float, long_range_bias: float | None) -> None:
    affinities, offsets = case
    used = affinities[: len(offsets)]
    got = mutex_watershed(affinities, offsets, bias, long_range_bias)
    np.testing.assert_array_equal(got, segments_by_definition(used, offsets, bias, long_range_bias))


@given(cases(), st.lists(st.tuples(BIASES, st.one_of(st.none(), BIASES), st.integers(0, 4)), min_size=1, max_size=6))
def test_several_biases_equal_one_at_a_time(case: tuple[Values, Offsets], biases: list[Any]) -> None:
    affinities, offsets = case
    parameters = [MutexWatershedParameters(*one) for one in biases]
    seen = []
    for index, labels in mutex_watersheds(affinities, offsets, parameters):
        seen.append(index)
        np.testing.assert_array_equal(labels, mutex_watershed(affinities, offsets, *biases[index]))
    assert sorted(seen) == list(range(len(biases)))


def by_mwatershed(affinities: Values, offsets: Offsets, bias: float) -> Values:
    clusters = mwatershed.agglom(affinities.astype(np.float64) - bias, [list(offset) for offset in offsets])
    if clusters.flat[0] == 0 and attracted(affinities, offsets, bias, None).flat[0]:
        clusters.flat[0] = clusters.max() + 1  # a cluster of only the first voxel is given the number 0 there
    return clusters


@given(st.integers(0, 2**32), st.sampled_from([2, 3]), BIASES)
@settings(max_examples=30)
def test_equals_mwatershed_where_no_two_affinities_are_alike(seed: int, dims: int, bias: float) -> None:
    shape = (1, 17, 19) if dims == 2 else (7, 8, 9)
    offsets = [(0, 1, 0), (0, 0, 1), (0, 4, 0), (0, 0, 5), (1, 0, 0), (3, 0, 0)][: 4 if dims == 2 else 6]
    rng = np.random.default_rng(seed)
    affinities = (rng.permutation(len(offsets) * int(np.prod(shape))).reshape(-1, *shape) + 0.3).astype(np.float64)
    affinities /= affinities.max() + 1
    got = sorted_affinities.SortedAffinities(affinities, offsets).segment(bias, bias, weak=True)
    assert same_parts(got, by_mwatershed(affinities, offsets, bias))
    if dims == 2:
        flat = [offset[1:] for offset in offsets]
        np.testing.assert_array_equal(
            mutex_watershed(affinities[:, 0], flat, bias), mutex_watershed(affinities, offsets, bias)[0]
        )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("biases", [(0.5, None), (0.4, 0.8)])
def test_stored_integers_equal_what_they_stand_for(dtype: Any, biases: tuple[float, float | None]) -> None:
    offsets = [(0, 2), (1, 0), (0, 1), (-2, -1)]
    rng = np.random.default_rng(3)
    stored = (rng.random((4, 23, 21)) * np.iinfo(dtype).max).astype(dtype)
    stored[:, :5] = np.iinfo(dtype).max
    before = stored.copy()
    got = mutex_watershed(stored, offsets, *biases, value_range=(0, 1))
    np.testing.assert_array_equal(got, mutex_watershed(dequantize(stored, (0, 1)), offsets, *biases))
    np.testing.assert_array_equal(stored, before)


def test_integers_stand_for_themselves_without_a_range() -> None:
    stored = np.random.default_rng(0).integers(0, 256, (2, 9, 9)).astype(np.uint8)
    offsets = [(0, 1), (1, 0)]
    for bias in (0.5, 99.5):
        expected = mutex_watershed(stored.astype(np.float64), offsets, bias)
        np.testing.assert_array_equal(mutex_watershed(stored, offsets, bias), expected)


def test_many_clusters_that_exclude_each_other() -> None:
    affinities, offsets = noisy_cells(28, 3)
    affinities += np.random.default_rng(0).random(affinities.shape).astype(np.float32) * 1e-3  # no clipped values alike
    for bias in (0.5, 0.8):
        got = sorted_affinities.SortedAffinities(affinities, offsets).segment(bias, bias, weak=True)
        assert same_parts(got, by_mwatershed(affinities, offsets, bias))
    parameters = [MutexWatershedParameters(bias) for bias in (0.1, 0.5, 0.35, 0.8, 0.65)]
    for index, labels in mutex_watersheds(affinities, offsets, parameters):
        np.testing.assert_array_equal(labels, mutex_watershed(affinities, offsets, parameters[index].bias))


def test_edges_with_long_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in volumes where channel and voxel do not fit into 32 bits."""
    affinities, offsets = noisy_cells(20, 2)
    expected = mutex_watershed(affinities, offsets, 0.5)
    graph = sorted_affinities._graph
    monkeypatch.setattr(sorted_affinities, "_graph", lambda *args: graph(*args)._replace(bits=40))
    np.testing.assert_array_equal(mutex_watershed(affinities, offsets, 0.5), expected)


def test_what_cannot_be_segmented(monkeypatch: pytest.MonkeyPatch) -> None:
    affinities, offsets = noisy_cells(8, 2)
    affinities[1, 2, 3] = np.nan
    with pytest.raises(ConfigError, match="NaN"):
        mutex_watershed(affinities, offsets, 0.5)
    with pytest.raises(ConfigError, match="above the highest affinity that uint8 stands for, 1"):
        mutex_watershed(np.zeros((1, 4, 4), np.uint8), [(0, 1)], 0.5, 1.5, value_range=(0, 1))
    monkeypatch.setattr(sorted_affinities, "MOST_VOXELS", 63)
    with pytest.raises(ConfigError, match="in blocks"):
        mutex_watershed(np.zeros((1, 8, 8)), [(0, 1)], 0.5)


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (2, 0, 2)])
def test_volumes_without_pairs(shape: tuple[int, ...]) -> None:
    offsets = [tuple(int(axis == a) for a in range(len(shape))) for axis in range(len(shape))]
    labels = mutex_watershed(np.ones((len(shape), *shape), np.float32), offsets, 0.5)
    assert labels.shape == shape
    assert not labels.any()


def test_small_segments_are_absorbed_as_before() -> None:
    affinities, offsets = noisy_cells(30, 2)
    labels = mutex_watershed(affinities, offsets, 0.5)
    absorbed = absorb_small(labels, 20)
    got = mutex_watershed(affinities, offsets, 0.5, min_size=20)
    assert same_parts(got, absorbed)
    assert got.max() == len(np.unique(got[got > 0]))
