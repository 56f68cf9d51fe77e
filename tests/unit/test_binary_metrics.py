"""Metrics of binary volumes, against the recorded values and definitions by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist, directed_hausdorff
from scipy.stats import hmean
from skimage.metrics import variation_of_information

from dacapo.errors import EvaluationError
from dacapo.experiments.tasks.evaluators.binary_segmentation_evaluator import CRITERIA
from dacapo.utils.binary_metrics import BinaryComparison
from tests.helpers.golden_data import item_arrays, items, load_json

VOLUMES = [name for name in items("binary_evaluator") if name not in ("channels_3d", "one_channel_3d")]
# What the original got from a library call whose meaning had changed; the definition counts, see the reference data.
LIBRARY_CHANGED = {"false_discovery_rate", "false_positive_rate", "precision", "f1_score"}
_WITH_TOLERANCE = ("precision_with_tolerance", "recall_with_tolerance")
MASKS = arrays(bool, st.sampled_from([(4, 5), (3, 4, 2)]))


def scores(truth, test, voxel_size, clip=40.0, tol=10.0, mask=None):
    comparison = BinaryComparison.of(truth, test, voxel_size, clip, tol, mask)
    return {name: criterion.function(comparison) for name, criterion in CRITERIA.items()}


@pytest.mark.parametrize("item", VOLUMES)
def test_equals_the_recorded_values(item):
    data, about = item_arrays("binary_evaluator", item), items("binary_evaluator")[item]
    result = scores(data["truth"], data["test"], about["voxel_size"])
    recorded = dict(zip(load_json("binary_evaluator")["criteria"], data["scores"].ravel(), strict=True))
    if item == "empty_truth_3d":
        # FP / (FP + TN) was recorded; FP / (FP + TP) is meant, and every discovery is false.
        recorded["false_discovery_rate"] = 1.0
    recorded.update({name: float(value) for name, value in about.get("by_definition", {}).items()})
    assert list(result) == list(recorded)
    for name, value in recorded.items():
        assert result[name] == pytest.approx(value, rel=1e-5, nan_ok=True), name


def test_only_what_a_library_changed_differs_from_the_recorded_values():
    for item in VOLUMES:
        data, about = item_arrays("binary_evaluator", item), items("binary_evaluator")[item]
        result = scores(data["truth"], data["test"], about["voxel_size"])
        for name, value in zip(load_json("binary_evaluator")["criteria"], data["scores"].ravel(), strict=True):
            if name not in LIBRARY_CHANGED:
                assert result[name] == pytest.approx(value, rel=1e-5, nan_ok=True), (item, name)


@given(MASKS, st.data())
def test_all_criteria_equal_brute_force_with_uneven_voxels(truth, data):
    test = data.draw(arrays(bool, truth.shape))
    voxel_size = (7, 3, 2)[: truth.ndim]
    assume(truth.any() and test.any())
    a, b = np.argwhere(truth) * voxel_size, np.argwhere(test) * voxel_size
    distances = cdist(a, b)
    # The tolerance is the distance between neighbors along an axis, which is still forgiven.
    tol = 3
    result = scores(truth, test, voxel_size, clip=5.0, tol=tol)
    to_test, to_truth = distances.min(1), distances.min(0)
    expected = {
        "hausdorff": max(directed_hausdorff(a, b)[0], directed_hausdorff(b, a)[0]),
        "mean_false_negative_distance": to_test.mean(),
        "mean_false_positive_distance": to_truth.mean(),
        "mean_false_distance": (to_test.mean() + to_truth.mean()) / 2,
        "mean_false_negative_distance_clipped": np.minimum(to_test, 5).mean(),
        "mean_false_positive_distance_clipped": np.minimum(to_truth, 5).mean(),
        "false_negative_rate_with_tolerance": (to_test > tol).mean(),
        "voi": sum(variation_of_information(truth.astype(int), test.astype(int))),
        "recall": truth[test].sum() / truth.sum(),
        "precision": truth[test].sum() / test.sum(),
        "dice": 2 * (truth & test).sum() / (truth.sum() + test.sum()),
        "jaccard": (truth & test).sum() / (truth | test).sum(),
        "mean_false_distance_clipped": (np.minimum(to_test, 5).mean() + np.minimum(to_truth, 5).mean()) / 2,
        "false_negative_rate": (~test[truth]).mean(),
        "false_positive_rate": test[~truth].mean() if (~truth).any() else np.nan,
        "false_positive_rate_with_tolerance": (to_truth > tol).sum() / (~truth).sum() if (~truth).any() else np.nan,
        "false_discovery_rate": (~truth[test]).mean(),
    }
    # What is right, or wrong but tolerated, counts as right.
    missed, invented = (to_test > tol).sum(), (to_truth > tol).sum()
    right = (truth & test).sum() + ((to_test > 0) & (to_test <= tol)).sum() + ((to_truth > 0) & (to_truth <= tol)).sum()
    expected["recall_with_tolerance"] = right / (right + missed)
    expected["precision_with_tolerance"] = right / (right + invented)
    for name, parts in (("f1_score", ("precision", "recall")), ("f1_score_with_tolerance", _WITH_TOLERANCE)):
        values = [expected[part] for part in parts]
        expected[name] = hmean(values) if all(values) else np.nan
    assert set(expected) == set(result)
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, rel=1e-6, abs=1e-9, nan_ok=True), name


@given(MASKS, st.data())
def test_f1_is_dice_unless_nothing_is_right(truth, data):
    test = data.draw(arrays(bool, truth.shape))
    assume((truth & test).any())
    result = scores(truth, test, (1,) * truth.ndim)
    assert result["f1_score"] == pytest.approx(result["dice"])


@given(MASKS, st.data())
def test_scores_stay_within_their_bounds(truth, data):
    test = data.draw(arrays(bool, truth.shape))
    for name, value in scores(truth, test, (4,) * truth.ndim).items():
        low, high = CRITERIA[name].bounds
        assert not value < low, name
        assert not value > high, name


def test_a_tolerance_equal_to_the_distance_forgives():
    truth, test = np.zeros((1, 9), bool), np.zeros((1, 9), bool)
    truth[0, 1], test[0, 4] = True, True
    assert scores(truth, test, (1.1, 1.1), tol=3.3 - 1e-9)["recall_with_tolerance"] == 0.0
    assert scores(truth, test, (8, 8), tol=24)["recall_with_tolerance"] == 1.0


@pytest.mark.parametrize("annotated", [3, -1])
def test_masked_voxels_do_not_count(annotated):
    rng = np.random.default_rng(0)
    truth, test = rng.random((6, 8)) > 0.5, rng.random((6, 8)) > 0.5
    mask = np.zeros((6, 8), np.int8)
    mask[:, :5] = annotated
    inside = scores(truth[:, :5], test[:, :5], (2, 2))
    assert scores(truth, test, (2, 2), mask=mask) == pytest.approx(inside)


# Degenerate volumes: all criteria, as the documentation of BinaryComparison promises. Left out is what is NaN.
PERFECT = dict.fromkeys(CRITERIA, 0.0) | {
    name: 1.0 for name, criterion in CRITERIA.items() if criterion.higher_is_better
}
RATES_OF_BACKGROUND = ("false_positive_rate", "false_positive_rate_with_tolerance")


def without(values, *names):
    return {name: value for name, value in values.items() if name not in names}


FAR = {
    "hausdorff": 12.0,
    **{name: 12.0 for name in CRITERIA if "distance" in name},
    **{name: 5.0 for name in CRITERIA if "clipped" in name},
}


@pytest.mark.parametrize(
    ("truth", "test", "expected"),
    [
        ([0, 0, 0, 0], [0, 0, 0, 0], {"hausdorff": 0}),
        ([0, 0, 0, 0], [0, 1, 1, 0], {"dice": 0, "jaccard": 0, "false_discovery_rate": 1}),
        ([0, 1, 1, 0], [0, 0, 0, 0], {"dice": 0, "jaccard": 0, "false_discovery_rate": 0}),
        ([1, 1, 1, 1], [0, 0, 0, 0], {"dice": 0, "jaccard": 0, "false_discovery_rate": 0}),
        ([1, 1, 1, 1], [1, 1, 1, 1], without(PERFECT, *RATES_OF_BACKGROUND)),
        ([0, 1, 1, 0], [0, 1, 1, 0], PERFECT),
        ([0], [0], {"hausdorff": 0}),
        ([1], [1], without(PERFECT, *RATES_OF_BACKGROUND)),
        ([0], [1], {"dice": 0, "jaccard": 0, "false_discovery_rate": 1}),
        ([1], [0], {"dice": 0, "jaccard": 0, "false_discovery_rate": 0}),
        (
            [1, 0, 0, 0],
            [0, 0, 0, 1],
            {
                **without(PERFECT, "f1_score", "f1_score_with_tolerance"),
                **FAR,
                "voi": pytest.approx(
                    2 * (1 + 0.5 - 0.25 * np.log2(3) * 3 + 0.25 * np.log2(3) * 3) - 2 * 0.811278, 1e-4
                ),
                **dict.fromkeys(("dice", "jaccard", "precision", "recall"), 0),
                **dict.fromkeys(("precision_with_tolerance", "recall_with_tolerance"), 0),
                **dict.fromkeys(("false_negative_rate", "false_negative_rate_with_tolerance"), 1),
                "false_discovery_rate": 1,
                **dict.fromkeys(RATES_OF_BACKGROUND, pytest.approx(1 / 3)),
            },
        ),
    ],
)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_degenerate_volumes_have_the_documented_values(truth, test, expected, dims):
    """One voxel, one line, one slice."""
    truth, test = (np.array(values).reshape((1,) * (dims - 1) + (-1,)) for values in (truth, test))
    result = scores(truth, test, (4,) * dims, clip=5.0, tol=4.0)
    assert {name: value for name, value in result.items() if not np.isnan(value)} == expected


def test_nothing_inside_the_mask_has_no_scores():
    ones = np.ones((2, 3))
    assert np.isnan(list(scores(ones, ones, (4, 4), mask=ones * 0).values())).all()


def test_refuses_other_shapes():
    with pytest.raises(EvaluationError, match="shapes"):
        BinaryComparison.of(np.zeros((2, 2)), np.zeros((2, 3)), (1, 1), 1, 1)
    with pytest.raises(EvaluationError, match="mask"):
        BinaryComparison.of(np.zeros((2, 2)), np.zeros((2, 2)), (1, 1), 1, 1, mask=np.ones((3, 3)))
