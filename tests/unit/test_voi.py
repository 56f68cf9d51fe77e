"""Variation of information."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import variation_of_information

from dacapo.errors import DtypeError, EvaluationError
from dacapo.utils.voi import contingency, voi
from tests.helpers.golden_data import item_arrays, items

ARGUMENTS = {
    "voi_default": {},
    "voi_ignore_none": {"ignore_groundtruth": []},
    "voi_ignore_both": {"ignore_reconstruction": [0], "ignore_groundtruth": [0]},
    "voi_ignore_1_2": {"ignore_reconstruction": [1], "ignore_groundtruth": [0, 2]},
}
LABELS = arrays(np.uint8, (3, 4), elements=st.integers(0, 3))


@pytest.mark.parametrize("item", items("voi"))
@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_equals_the_recorded_values(item, arguments):
    data = item_arrays("voi", item)
    result = voi(data["reconstruction"], data["truth"], **ARGUMENTS[arguments])
    if arguments in data:
        np.testing.assert_allclose(result, data[arguments], rtol=1e-6, atol=1e-9)
    else:
        # Recorded was a division by zero: no voxel is left to compare, so there is no value.
        assert items("voi")[item][f"{arguments}_raises"]["type"] == "ZeroDivisionError"
        assert np.isnan(result).all()


@given(LABELS, LABELS)
def test_equals_skimage(reconstruction, truth):
    # H(test | true), H(true | test)
    expected = variation_of_information(truth, reconstruction)
    np.testing.assert_allclose(voi(reconstruction, truth, ignore_groundtruth=[]), expected, atol=1e-9)


@given(LABELS, LABELS)
def test_swapping_the_volumes_swaps_split_and_merge(a, b):
    np.testing.assert_allclose(voi(a, b, ignore_groundtruth=[]), voi(b, a, ignore_groundtruth=[])[::-1], atol=1e-12)


@given(LABELS, LABELS)
def test_contingency_counts_pairs(a, b):
    pairs, of_a, of_b = contingency(a, b)
    assert sorted(pairs) == sorted(Counter(zip(a.flat, b.flat, strict=True)).values())
    assert sorted(of_a) == sorted(Counter(a.flat).values())
    assert sorted(of_b) == sorted(Counter(b.flat).values())


def test_an_object_cut_in_halves_is_one_bit_of_split():
    truth = np.ones((4, 4), np.uint64)
    halves = np.repeat(np.array([1, 2], np.uint64), 8).reshape(4, 4)
    assert voi(halves, truth) == (1.0, 0.0)
    assert voi(truth, halves) == (0.0, 1.0)


def test_takes_ids_near_the_end_of_64_bits():
    truth = np.array([2**64 - 1, 2**64 - 2, 5, 5], np.uint64)
    assert voi(truth, truth) == (0.0, 0.0)
    assert voi(np.array([True, True, False, False]), truth)[1] == 0.5


def test_refuses_other_shapes_and_floats():
    with pytest.raises(EvaluationError, match=r"\(2,\).*\(3,\)"):
        voi(np.zeros(2, int), np.zeros(3, int))
    with pytest.raises(DtypeError, match="truth is float64"):
        voi(np.zeros(2, int), np.zeros(2))


def test_nothing_to_compare_is_nan():
    assert all(math.isnan(v) for v in voi(np.ones(3, int), np.zeros(3, int)))
