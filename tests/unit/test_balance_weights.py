"""Class weights against recorded results, their definition and their invariances."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dacapo.errors import ConfigError, DtypeError, LabelError
from dacapo.utils.balance_weights import balance_weights
from tests.helpers.golden_data import item_arrays, items

ITEMS = items("balance_weights")

masked_labels = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=7).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)), hnp.arrays(np.uint8, shape, elements=st.integers(0, 1))
    )
)


@pytest.mark.parametrize("name", [name for name, item in ITEMS.items() if "raises" not in item])
def test_matches_recorded(name):
    item, arrays = ITEMS[name], item_arrays("balance_weights", name)
    counts = None
    for call in range(3):
        masks = [arrays[f"mask{call}_{m}"] for m in range(item["masks_per_call"])]
        label = arrays[f"label{call}"]
        weights, counts = balance_weights(
            label, item["num_classes"], masks=masks, moving_counts=counts, **item["parameters"]
        )
        assert weights.dtype == np.float32
        np.testing.assert_allclose(weights, arrays[f"weights{call}"], rtol=1e-6)
        np.testing.assert_allclose(np.array(counts), arrays[f"counts{call}"], rtol=1e-9)


@given(masked_labels, st.floats(0.0, 0.3), st.floats(0.5, 1.0))
@pytest.mark.filterwarnings("error")
def test_matches_definition(case, clipmin, clipmax):
    labels, mask = case
    weights, _ = balance_weights(labels, 3, masks=[mask], clipmin=clipmin, clipmax=clipmax)
    for voxel in np.ndindex(labels.shape):
        count = ((labels == labels[voxel]) & (mask > 0)).sum()
        fraction = np.clip(count / (mask.sum() + 1), clipmin, clipmax)
        expected = 1 / (3 * fraction) if mask[voxel] else 0
        assert weights[voxel] == pytest.approx(expected, rel=1e-6)


@given(masked_labels)
def test_without_clips_all_classes_weigh_the_same(case):
    labels, mask = case
    weights, _ = balance_weights(labels, 3, masks=[mask], clipmin=None, clipmax=None)
    present = np.unique(labels[mask > 0])
    sums = [weights[labels == label].sum() for label in present]
    np.testing.assert_allclose(sums, (mask.sum() + 1) / 3, rtol=1e-5)


@given(masked_labels, st.permutations([0, 1, 2]))
def test_renaming_classes_changes_nothing(case, names):
    labels, mask = case
    renamed = np.array(names, dtype=np.uint8)[labels]
    np.testing.assert_array_equal(
        balance_weights(renamed, 3, masks=[mask])[0], balance_weights(labels, 3, masks=[mask])[0]
    )


@given(masked_labels)
def test_flips_and_transpositions_carry_over(case):
    labels, mask = case
    weights, counts = balance_weights(labels, 3, masks=[mask])
    flipped, flipped_counts = balance_weights(np.flip(labels), 3, masks=[np.flip(mask)])
    transposed, transposed_counts = balance_weights(labels.T, 3, masks=[mask.T])
    np.testing.assert_array_equal(np.flip(flipped), weights)
    np.testing.assert_array_equal(transposed.T, weights)
    assert counts == flipped_counts == transposed_counts


@given(masked_labels)
def test_two_masks_act_as_their_product(case):
    labels, mask = case
    other = (labels != 1).astype(np.uint8)
    both = balance_weights(labels, 3, masks=[mask, other])
    product = balance_weights(labels, 3, masks=[mask * other])
    np.testing.assert_array_equal(both[0], product[0])
    assert both[1] == product[1]


def test_counts_are_changed_in_place():
    _, counts = balance_weights(np.array([0, 1, 1]), 2)
    before = copy.deepcopy(counts)
    _, after = balance_weights(np.array([0, 1, 1]), 2, moving_counts=counts)
    assert after is counts
    assert counts != before


def test_bool_labels_and_masks():
    labels, mask = np.array([True, False, True]), np.array([True, True, False])
    expected = balance_weights(labels.astype(np.uint8), 2, masks=[mask.astype(np.uint8)])
    result = balance_weights(labels, 2, masks=[mask])
    np.testing.assert_array_equal(result[0], expected[0])


def test_unclipped_missing_class_divides_by_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weights, _ = balance_weights(np.zeros(3, dtype=np.uint8), 2, clipmin=None)
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("labels", [np.array([0, 2]), np.array([-1, 0])])
def test_unknown_class_is_refused(labels):
    with pytest.raises(LabelError, match="2 classes"):
        balance_weights(labels, 2)


def test_float_labels_are_refused():
    with pytest.raises(DtypeError, match="float64"):
        balance_weights(np.zeros(3), 2)


@pytest.mark.parametrize(
    "arguments",
    [
        {"masks": [np.ones(4)]},
        {"slab": (0,)},
        {"slab": (1, 1)},
        {"moving_counts": [[(0.0, 1.0)] * 2] * 2},
        {"moving_counts": [[(0.0, 1.0)] * 3]},
    ],
)
def test_what_does_not_fit_is_refused(arguments):
    with pytest.raises(ConfigError):
        balance_weights(np.zeros(3, dtype=np.uint8), 2, **arguments)
