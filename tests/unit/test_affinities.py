"""Affinities against recorded results, a brute-force definition and their invariances."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from funlib.geometry import Coordinate
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dacapo.errors import ConfigError, DtypeError
from dacapo.utils.affinities import padding, seg_to_affgraph
from tests.helpers.golden_data import item_arrays, items

ITEMS = items("affinities")


def brute_force(seg, neighborhood):
    affinities = np.zeros((len(neighborhood), *seg.shape), dtype=np.int32)
    for k, offset in enumerate(neighborhood):
        for voxel in itertools.product(*map(range, seg.shape)):
            partner = tuple(v + o for v, o in zip(voxel, offset, strict=True))
            inside = all(0 <= p < size for p, size in zip(partner, seg.shape, strict=True))
            if inside and seg[voxel] > 0 and seg[voxel] == seg[partner]:
                affinities[(k, *voxel)] = 1
    return affinities


@st.composite
def labels_and_offsets(draw):
    dims = draw(st.integers(2, 3))
    shape = draw(hnp.array_shapes(min_dims=dims, max_dims=dims, max_side=6))
    seg = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 3)))
    offsets = draw(st.lists(st.tuples(*[st.integers(-7, 7)] * dims), min_size=1, max_size=3))
    return seg, offsets


@pytest.mark.parametrize("name", [name for name, item in ITEMS.items() if "raises" not in item])
def test_matches_recorded(name):
    item, arrays = ITEMS[name], item_arrays("affinities", name)
    expected = next(value for key, value in arrays.items() if key != "seg")
    result = seg_to_affgraph(arrays["seg"], item["neighborhood"])
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("name", [name for name, item in ITEMS.items() if "padding_neg" in item])
def test_padding_matches_recorded(name):
    item = ITEMS[name]
    negative, positive = padding([Coordinate(o) for o in item["neighborhood"]], Coordinate(item["voxel_size"]))
    assert negative == Coordinate(item["padding_neg"])
    assert positive == Coordinate(item["padding_pos"])


def test_offset_longer_than_the_volume_gives_zeros():
    # Recorded is a broadcasting error; no voxel has a partner, so there is no affinity.
    item, arrays = ITEMS["too_long_2d"], item_arrays("affinities", "too_long_2d")
    result = seg_to_affgraph(arrays["seg"], item["neighborhood"])
    assert not result[0].any()
    np.testing.assert_array_equal(result, brute_force(arrays["seg"], item["neighborhood"]))


@given(labels_and_offsets())
def test_matches_brute_force(case):
    seg, offsets = case
    np.testing.assert_array_equal(seg_to_affgraph(seg, offsets), brute_force(seg, offsets))


@given(labels_and_offsets(), st.permutations([1, 2, 3]))
def test_renaming_labels_changes_nothing(case, names):
    seg, offsets = case
    renamed = np.array([0, *names], dtype=np.uint8)[seg]
    np.testing.assert_array_equal(seg_to_affgraph(renamed, offsets), seg_to_affgraph(seg, offsets))


@given(labels_and_offsets(), st.data())
def test_flipping_labels_flips_offsets(case, data):
    seg, offsets = case
    axis = data.draw(st.integers(0, seg.ndim - 1))
    flipped_offsets = [tuple(-o if a == axis else o for a, o in enumerate(offset)) for offset in offsets]
    flipped = seg_to_affgraph(np.flip(seg, axis), flipped_offsets)
    np.testing.assert_array_equal(np.flip(flipped, axis + 1), seg_to_affgraph(seg, offsets))


@given(labels_and_offsets())
def test_transposing_labels_transposes_offsets(case):
    seg, offsets = case
    transposed = seg_to_affgraph(seg.T, [offset[::-1] for offset in offsets])
    spatial = range(seg.ndim, 0, -1)
    np.testing.assert_array_equal(transposed.transpose(0, *spatial), seg_to_affgraph(seg, offsets))


def test_requested_dtype():
    seg = np.ones((2, 3), dtype=np.uint64)
    assert seg_to_affgraph(seg, [(0, 1)], dtype=np.float32).dtype == np.float32


def test_float_labels_are_refused():
    with pytest.raises(DtypeError, match="float32"):
        seg_to_affgraph(np.ones((2, 2), dtype=np.float32), [(0, 1)])


@pytest.mark.parametrize(("shape", "offset"), [((2,) * 4, (1, 0, 0, 0)), ((4,), (1,)), ((2, 2), (1, 0, 0))])
def test_other_dimensions_are_refused(shape, offset):
    with pytest.raises(ConfigError, match="dimensions"):
        seg_to_affgraph(np.ones(shape, dtype=np.uint8), [offset])


def test_padding_of_a_single_offset():
    assert padding([(0, -2)], Coordinate(4, 8)) == (Coordinate(0, -16), Coordinate(0, 0))
