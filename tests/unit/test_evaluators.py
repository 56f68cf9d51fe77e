"""Evaluators on arrays on disk."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ChannelMismatchError, ConfigError, EvaluationError
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray, ZarrArray
from dacapo.experiments.tasks.evaluators import (
    BinarySegmentationEvaluationScores,
    BinarySegmentationEvaluator,
    DummyEvaluationScores,
    DummyEvaluator,
    InstanceEvaluationScores,
    InstanceEvaluator,
    MultiChannelBinarySegmentationEvaluationScores,
)
from dacapo.experiments.tasks.evaluators.instance_evaluator import relabel, voi
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.golden_data import item_arrays, items, load_json

GOLDEN = load_json("binary_evaluator")


def placed(data, voxel_size, offset=None, axes=None):
    """Return data as an array in memory; the axes are the last of c, z, y, x unless given."""
    axes = axes or ["z", "y", "x"][-data.ndim :]
    voxel_size = Coordinate(voxel_size)
    spatial = Coordinate(n for n, axis in zip(data.shape, axes, strict=True) if axis != "c")
    roi = Roi(Coordinate(offset) if offset else voxel_size * 0, spatial * voxel_size)
    return NumpyArray.from_np_array(data, roi, voxel_size, axes)


@pytest.fixture
def store(tmp_path):
    """Return a function that writes an array to disk and returns its identifier."""

    def write(data, voxel_size, offset=None, axes=None):
        array = placed(data, voxel_size, offset, axes)
        identifier = LocalArrayIdentifier(tmp_path / "test.zarr", "output")
        written = ZarrArray.create_from_array_identifier(
            identifier, array.axes, array.roi, array.num_channels if "c" in array.axes else None, voxel_size, data.dtype
        )
        written[written.roi] = data
        return identifier

    return write


@pytest.mark.parametrize("item", ["other", "same", "split", "merged", "shifted", "empty"])
def test_instances_equal_the_recorded_values(store, item):
    data = item_arrays("voi", item)
    size = Coordinate(items("voi")[item]["voxel_size"])
    scores = InstanceEvaluator().evaluate(store(data["reconstruction"], size), placed(data["truth"], size))
    split, merge, mean = data["evaluator"]
    np.testing.assert_allclose((scores.voi_split, scores.voi_merge), (split, merge), rtol=1e-6, atol=1e-9)
    # The mean was recorded; the variation of information is the sum, as in the binary evaluator.
    assert scores.voi == pytest.approx(2 * mean, rel=1e-6, abs=1e-9)


def test_instance_criteria():
    about = load_json("voi")["evaluator"]
    evaluator, scores = InstanceEvaluator(), InstanceEvaluationScores()
    assert evaluator.criteria == about["criteria"]
    assert scores.criteria == about["score_criteria"] == evaluator.score.criteria
    for name in scores.criteria:
        assert evaluator.higher_is_better(name) == about["higher_is_better"][name]
        assert evaluator.store_best(name) == about["store_best"][name]
        # An upper bound of 1 was recorded, which two objects halved twice exceed.
        assert evaluator.bounds(name) == (0, math.inf)
    assert math.isnan(scores.voi)
    with pytest.raises(ConfigError, match=r"voi_splt.*voi_split"):
        scores.bounds("voi_splt")


def test_unlabelled_voxels_can_be_ignored(store):
    truth = np.array([[0, 0, 1, 1, 2, 2]], np.uint8)
    output = store(np.array([[1, 2, 1, 1, 2, 2]], np.uint32), Coordinate(4, 4))
    assert InstanceEvaluator().evaluate(output, placed(truth, (4, 4))).voi > 0
    assert InstanceEvaluator(ignore_unlabelled=True).evaluate(output, placed(truth, (4, 4))).voi == 0
    with pytest.raises(EvaluationError, match="no labels"):
        InstanceEvaluator(ignore_unlabelled=True).evaluate(output, placed(truth * 0, (4, 4)))


def test_instances_of_a_single_channel(store):
    labels = np.arange(12, dtype=np.uint64).reshape(1, 3, 4)
    output = store(labels, Coordinate(2, 2), axes=["c", "y", "x"])
    assert InstanceEvaluator().evaluate(output, placed(labels[0], (2, 2))).voi == 0
    two = placed(np.repeat(labels, 2, axis=0), (2, 2), axes=["c", "y", "x"])
    with pytest.raises(EvaluationError, match="truth has 2 channels"):
        InstanceEvaluator().evaluate(output, two)


@pytest.mark.parametrize("offset", [(0, 0), (-4, 8), (8, -4), (4, 4)])
def test_only_the_common_region_is_compared(store, offset):
    """The output repeats the truth shifted into place, with rubbish outside."""
    world = np.arange(400, dtype=np.uint64).reshape(20, 20)
    output = store(world[4:14, 4:14] + 7, Coordinate(4, 4), (16, 16))
    begin = [4 + o // 4 for o in offset]
    truth = world[begin[0] : begin[0] + 12, begin[1] : begin[1] + 6]
    array = placed(truth, (4, 4), [16 + o for o in offset])
    assert InstanceEvaluator().evaluate(output, array).voi == 0


@pytest.mark.parametrize(
    ("voxel_size", "offset", "message"),
    [
        ((4, 2), (0, 0), "voxel size of the output"),
        ((4, 4), (40, 0), "do not overlap"),
        ((4, 4), (2, 0), "do not coincide"),
    ],
)
@pytest.mark.parametrize("evaluator", [InstanceEvaluator(), BinarySegmentationEvaluator(1, 1, None)])
def test_volumes_that_cannot_be_compared(store, evaluator, voxel_size, offset, message):
    output = store(np.ones((5, 5), np.uint8), Coordinate(4, 4))
    with pytest.raises(EvaluationError, match=message):
        evaluator.evaluate(output, placed(np.ones((5, 5), np.uint8), voxel_size, offset))


def test_voi_counts_the_background_as_an_object():
    data = item_arrays("voi", "other")
    scores = voi(data["truth"], data["reconstruction"])
    np.testing.assert_allclose((scores["voi_split"], scores["voi_merge"]), data["evaluator"][:2], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint64, np.int32])
@pytest.mark.parametrize("inplace", [False, True])
def test_relabel(dtype, inplace):
    labels = np.array([[9, 0, 4], [4, 100, 9]], dtype)
    before = labels.copy()
    new, count, old_ids = relabel(labels, return_backwards_map=True, inplace=inplace)
    assert new.tolist() == [[2, 0, 1], [1, 3, 2]]
    assert new.dtype == dtype
    assert count == 3
    np.testing.assert_array_equal(old_ids[new], before)
    assert (new is labels) == inplace
    np.testing.assert_array_equal(labels, new if inplace else before)
    assert relabel(before)[1] == 3


def test_relabel_keeps_zero_where_there_is_none_and_below_negative_ids():
    assert relabel(np.array([5, 6]))[0].tolist() == [1, 2]
    assert relabel(np.array([-3, 0, 7]))[0].tolist() == [1, 0, 2]


def test_relabel_in_place_of_a_strided_view():
    labels = np.arange(1, 13, dtype=np.uint16).reshape(3, 4)[:, ::2]
    relabel(labels, inplace=True)
    assert labels.tolist() == [[1, 2], [3, 4], [5, 6]]


def values_of(scores, prefix=""):
    return {name: getattr(scores, prefix + name) for name in GOLDEN["criteria"]}


def expected_values(recorded, by_definition):
    values = dict(zip(GOLDEN["criteria"], recorded, strict=True))
    values.update({name: float(value) for name, value in by_definition.items()})
    return values


@pytest.mark.parametrize("item", ["overlap_3d", "overlap_2d", "disjoint_3d"])
def test_binary_equals_the_recorded_values(store, item):
    data, about = item_arrays("binary_evaluator", item), GOLDEN["items"][item]
    size = Coordinate(about["voxel_size"])
    evaluator = BinarySegmentationEvaluator(about["clip_distance"], about["tol_distance"], None)
    scores = evaluator.evaluate(store(data["test"], size), placed(data["truth"], size))
    assert isinstance(scores, BinarySegmentationEvaluationScores)
    assert scores.criteria == GOLDEN["criteria"]
    expected = expected_values(data["scores"].ravel(), about["by_definition"])
    assert values_of(scores) == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_channels_equal_the_recorded_values(store):
    data, about = item_arrays("binary_evaluator", "channels_3d"), GOLDEN["items"]["channels_3d"]
    size, axes = Coordinate(about["voxel_size"]), ["c", "z", "y", "x"]
    evaluator = BinarySegmentationEvaluator(40, 10, about["channels"])
    scores = evaluator.evaluate(store(data["test"], size, axes=axes), placed(data["truth"], size, axes=axes))
    assert scores.criteria == about["score_criteria"]
    assert evaluator.criteria == about["evaluator_criteria"]
    assert evaluator.score.criteria == about["empty_score_criteria"]
    for channel, recorded in zip(about["channels"], data["scores"], strict=True):
        expected = expected_values(recorded, about["by_definition"].get(channel, {}))
        if channel == "gone":
            # By definition every discovery is false where there is no truth; see test_binary_metrics.
            expected["false_discovery_rate"] = 1.0
        assert values_of(scores, f"{channel}__") == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_a_single_named_channel_carries_its_name_everywhere(store):
    """The original's scores had no name in front where the evaluator's criteria had."""
    data, about = item_arrays("binary_evaluator", "one_channel_3d"), GOLDEN["items"]["one_channel_3d"]
    size = Coordinate(about["voxel_size"])
    truth = np.isin(data["labels"], about["groupings"][0][1]).astype(np.uint8)[np.newaxis]
    evaluator = BinarySegmentationEvaluator(40, 10, ["a"])
    scores = evaluator.evaluate(store(data["test"], size), placed(truth, size, axes=["c", "z", "y", "x"]))
    assert scores.criteria == evaluator.score.criteria
    assert set(evaluator.criteria) < set(scores.criteria)
    expected = expected_values(data["scores"].ravel(), about["by_definition"])
    assert values_of(scores, "a__") == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_volumes_without_channel_axis_hold_class_indices(store):
    classes = np.array([[0, 1, 2], [0, 1, 2]], np.uint8)
    truth = np.stack([classes == index for index in range(3)])
    output = store(classes, Coordinate(2, 2))
    evaluator = BinarySegmentationEvaluator(40, 10, ["background", "a", "b"])
    for array in (placed(truth, (2, 2), axes=["c", "y", "x"]), placed(classes, (2, 2))):
        scores = evaluator.evaluate(output, array)
        assert [getattr(scores, f"{channel}__dice") for channel in evaluator.channels] == [1.0] * 3


def test_channel_axis_may_be_anywhere(store):
    truth = np.zeros((4, 4, 2), np.uint8)
    truth[:2, :, 0] = truth[:, :1, 1] = 1
    scores = BinarySegmentationEvaluator(40, 10, ["a", "b"]).evaluate(
        store(np.moveaxis(truth, -1, 0), Coordinate(2, 2), axes=["c", "y", "x"]),
        placed(truth, (2, 2), axes=["y", "x", "c"]),
    )
    assert (scores.a__dice, scores.b__dice) == (1.0, 1.0)


@pytest.mark.parametrize("channels", [None, ["a", "b"]])
def test_another_number_of_channels_is_refused(store, channels):
    three = np.ones((3, 4, 4), np.uint8)
    output = store(three, Coordinate(2, 2), axes=["c", "y", "x"])
    with pytest.raises(ChannelMismatchError, match="3 channels"):
        BinarySegmentationEvaluator(1, 1, channels).evaluate(output, placed(three, (2, 2), axes=["c", "y", "x"]))


@pytest.mark.parametrize("annotated", [1, -1])
def test_masked_region_is_not_scored(store, annotated):
    truth, test = np.zeros((6, 6), np.uint8), np.ones((6, 6), np.uint8)
    truth[:, :3] = 1
    mask = placed(truth[:4].astype(np.int8) * np.int8(annotated), (4, 4))
    output = store(test, Coordinate(4, 4))
    assert BinarySegmentationEvaluator(9, 9, None).evaluate(output, placed(truth, (4, 4))).dice < 1
    assert BinarySegmentationEvaluator(9, 9, None, mask=mask).evaluate(output, placed(truth, (4, 4))).dice == 1
    far = placed(truth, (4, 4), (400, 400))
    with pytest.raises(EvaluationError, match="do not overlap"):
        BinarySegmentationEvaluator(9, 9, None, mask=far).evaluate(output, placed(truth, (4, 4)))


def test_a_mask_that_leaves_nothing_is_told(store):
    labels = np.ones((6, 6), np.uint8)
    output = store(labels, Coordinate(4, 4))
    for evaluator in (BinarySegmentationEvaluator(9, 9, None), InstanceEvaluator()):
        evaluator.mask = placed(labels * 0, (4, 4))
        with pytest.raises(EvaluationError, match="mask is 0 everywhere"):
            evaluator.evaluate(output, placed(labels, (4, 4)))
        evaluator.mask = placed(labels, (4, 4), (400, 400))
        with pytest.raises(EvaluationError, match="do not overlap"):
            evaluator.evaluate(output, placed(labels, (4, 4)))


def test_a_channel_masked_out_has_no_scores(store):
    truth = np.ones((2, 4, 4), np.uint8)
    mask = truth.copy()
    mask[1] = 0
    axes = ["c", "y", "x"]
    evaluator = BinarySegmentationEvaluator(9, 9, ["a", "b"], mask=placed(mask, (4, 4), axes=axes))
    scores = evaluator.evaluate(store(truth, Coordinate(4, 4), axes=axes), placed(truth, (4, 4), axes=axes))
    assert scores.a__dice == 1
    assert all(math.isnan(getattr(scores, f"b__{name}")) for name in GOLDEN["criteria"])


@pytest.mark.parametrize("with_channel", [False, True])
@pytest.mark.parametrize("offset", [(0, 0), (8, -4)])
@pytest.mark.parametrize("outside", [0, 77])
def test_masked_voxels_change_no_score_of_instances(store, offset, outside, with_channel):
    """What the output and the truth hold outside of the mask, or where it does not reach, makes no difference."""
    rng = np.random.default_rng(0)
    truth, test = (rng.integers(0, 4, (8, 9)) for _ in range(2))
    mask = np.zeros((8, 9), np.int8)
    mask[2:6, 3:8], mask[3] = 2, -1
    inside = np.zeros(truth.shape, bool)
    for row, column in np.argwhere(mask[:6]) + [o // 4 for o in offset]:
        if row < 8 and 0 <= column < 9:
            inside[row, column] = True
    data, axes = (mask[np.newaxis, :6], ["c", "y", "x"]) if with_channel else (mask[:6], ["y", "x"])
    evaluator = InstanceEvaluator(mask=placed(data, (4, 4), offset, axes))
    other = np.where(inside, test, outside).astype(np.uint64)
    scores = evaluator.evaluate(store(other, Coordinate(4, 4)), placed(truth, (4, 4)))
    expected = voi(truth[inside], test[inside])
    assert (scores.voi_split, scores.voi_merge) == pytest.approx((expected["voi_split"], expected["voi_merge"]))


def test_a_mask_for_a_while():
    evaluator, mask = InstanceEvaluator(), placed(np.ones((2, 2), np.uint8), (1, 1))
    own = placed(np.ones((3, 3), np.uint8), (1, 1))
    with evaluator.masked_by(mask):
        assert evaluator.mask is mask
    assert evaluator.mask is None
    evaluator.mask = own
    with evaluator.masked_by(None):
        assert evaluator.mask is own
    with pytest.raises(KeyError), evaluator.masked_by(mask):
        raise KeyError
    assert evaluator.mask is own


# Degenerate volumes: what the documentation of InstanceEvaluator and BinaryComparison promises.
ENTROPY = math.log2(3)


@pytest.mark.parametrize(
    ("truth", "test", "split", "merge"),
    [
        ([0, 0, 0], [0, 0, 0], 0, 0),
        ([0, 0, 0], [1, 2, 3], ENTROPY, 0),
        ([1, 2, 3], [0, 0, 0], 0, ENTROPY),
        ([0], [7], 0, 0),
        ([7], [0], 0, 0),
        ([7], [7], 0, 0),
    ],
)
@pytest.mark.parametrize("dims", [2, 3])
def test_instances_in_degenerate_volumes(store, truth, test, split, merge, dims):
    shape, size = (1,) * (dims - 1) + (-1,), Coordinate((4,) * dims)
    output = store(np.array(test, np.uint64).reshape(shape), size)
    scores = InstanceEvaluator().evaluate(output, placed(np.array(truth, np.uint64).reshape(shape), size))
    assert (scores.voi_split, scores.voi_merge) == pytest.approx((split, merge))
    assert scores.voi == pytest.approx(split + merge)


@pytest.mark.parametrize("channels", [None, ["a"]])
def test_binary_scores_of_an_empty_volume(store, channels):
    empty = np.zeros((3, 3, 3), np.uint8)
    scores = BinarySegmentationEvaluator(9, 9, channels).evaluate(
        store(empty, Coordinate(4, 4, 4)), placed(empty, (4, 4, 4))
    )
    values = {name.rpartition("__")[2]: getattr(scores, name) for name in scores.criteria}
    assert {name for name, value in values.items() if not math.isnan(value)} == {"hausdorff"}
    assert values["hausdorff"] == 0


def test_binary_criteria():
    scores = BinarySegmentationEvaluationScores()
    channels = MultiChannelBinarySegmentationEvaluationScores([("my__cell", scores)])
    assert BinarySegmentationEvaluator(1, 1, None).criteria == ["jaccard", "voi"]
    for name in GOLDEN["criteria"]:
        for holder, criterion in ((scores, name), (channels, f"my__cell__{name}")):
            assert math.isnan(getattr(holder, criterion))
            assert holder.higher_is_better(criterion) == GOLDEN["higher_is_better"][name]
            assert holder.store_best(criterion) == GOLDEN["store_best"][name]
            # An upper bound of 1 was recorded for voi, which has none.
            recorded = [0, math.inf] if name == "voi" else [float(b) for b in GOLDEN["bounds"][name]]
            np.testing.assert_equal(list(holder.bounds(criterion)), recorded)
    with pytest.raises(ConfigError, match="dize"):
        scores.bounds("dize")


def test_channel_scores_can_be_copied_and_know_what_they_lack():
    scores = MultiChannelBinarySegmentationEvaluationScores([("a", BinarySegmentationEvaluationScores(dice=0.5))])
    assert copy.deepcopy(scores).a__dice == 0.5
    for missing in ("b__dice", "a__dize", "dice"):
        assert not hasattr(scores, missing)


def test_negative_distances_are_refused():
    with pytest.raises(ConfigError, match=r"tol_distance.*-1"):
        BinarySegmentationEvaluator(1, -1, None)


def test_dummy(store):
    output = store(np.array([[0, 1, 2, 3]], np.uint8), Coordinate(1, 1))
    scores = DummyEvaluator().evaluate(output, None)
    assert scores == DummyEvaluationScores(frizz_level=0.75, blipp_score=0.25)
    assert DummyEvaluator().criteria == scores.criteria
    assert [scores.store_best(name) for name in scores.criteria] == [True, False]
