"""Scores counted in blocks are those of the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.spatial.distance import cdist

from dacapo.experiments.datasplits.datasets.arrays import MergeInstancesArrayConfig, NumpyArray, ZarrArrayConfig
from dacapo.experiments.datasplits.datasets.arrays.merge_instances_array import MergeInstancesArray
from dacapo.experiments.tasks.evaluators import BinarySegmentationEvaluator, DummyEvaluator, InstanceEvaluator
from dacapo.experiments.tasks.evaluators import dummy_evaluator as dummy_module
from dacapo.experiments.tasks.evaluators.binary_blocks import BinaryBlocks, BinaryTally
from dacapo.experiments.tasks.evaluators.binary_segmentation_evaluator import CRITERIA
from dacapo.experiments.tasks.evaluators.volumes import Volumes, block_shape
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.binary_metrics import BinaryComparison
from dacapo.utils.block_distances import DistanceCounts, Spacing, bounding_box, lower_to_boxes
from dacapo.utils.contingency import ContingencyTable
from dacapo.utils.tally import add_up
from tests.helpers.volumes import write_array

VOXEL_SIZE = (7, 3, 2)
SHAPES = array_shapes(min_dims=1, max_dims=3, max_side=9)


def placed(values, channels=False):
    dims = values.ndim - channels
    size = Coordinate(VOXEL_SIZE[-dims:])
    axes = ["c"] * channels + ["z", "y", "x"][-dims:]
    roi = Roi(size * 5, Coordinate(values.shape[channels:]) * size)
    return NumpyArray.from_np_array(values, roi, size, axes)


class Spy(NumpyArray):
    """Remembers how much was read at once."""

    most = 0

    def __getitem__(self, roi):
        values = super().__getitem__(roi)
        self.most = max(self.most, values.size)
        return values


def volumes(output, truth, mask=None):
    return Volumes(output, truth, mask, output.roi)


def in_blocks(evaluator, compared, block_voxels, order=None):
    """Return the scores, and check on the way that tallies can be written down."""
    evaluator.block_voxels = block_voxels
    blocks, total = evaluator.blocks(compared)
    tallies = [evaluator.tally(compared, block) for block in blocks]
    assert len(tallies) == total
    if order is not None:
        order.shuffle(tallies)
    tally = add_up(type(tally).from_arrays(tally.to_arrays()) for tally in tallies)
    return evaluator.scores_of(compared, tally)


def values_of(scores):
    return [getattr(scores, name) for name in scores.criteria]


def sparse(shape):
    """Return strategies of volumes, many of them with few voxels, which are far from each other."""
    few = st.sets(st.integers(0, math.prod(shape) - 1), max_size=3)
    return arrays(bool, shape) | few.map(lambda at: np.isin(np.arange(math.prod(shape)), list(at)).reshape(shape))


@settings(max_examples=40)
@given(SHAPES.flatmap(lambda s: st.tuples(*[sparse(s)] * 3)), st.booleans(), st.integers(1, 64), st.randoms())
def test_binary_scores_are_those_of_the_whole(cubes, masked, block_voxels, order):
    truth, test, mask = cubes
    mask = mask if masked and mask.any() else None
    evaluator = BinarySegmentationEvaluator(5, 3, None)
    evaluator.margin = 1
    compared = volumes(placed(test), placed(truth), None if mask is None else placed(mask))
    expected = BinaryComparison.of(truth, test, VOXEL_SIZE[-truth.ndim :], 5, 3, mask)
    got = in_blocks(evaluator, compared, block_voxels, order)
    # Not only nearly: distances are counted, so rounding does not depend on the blocks.
    np.testing.assert_array_equal(values_of(got), [c.function(expected) for c in CRITERIA.values()])


@settings(max_examples=40)
@given(SHAPES.flatmap(lambda s: st.tuples(*[arrays(np.uint8, s, elements=st.integers(0, 2))] * 3)), st.booleans())
def test_scores_of_channels_are_those_of_the_whole(cubes, mask_of_channels):
    classes, test, mask = cubes
    names = ["background", "a", "b"]
    stacked = np.stack([test == channel for channel in range(3)])
    masks = np.stack([mask, mask > 1, np.zeros_like(mask)]) if mask_of_channels else mask
    if not masks.any():
        return
    evaluator = BinarySegmentationEvaluator(5, 3, names)
    evaluator.margin = 1
    compared = volumes(placed(stacked, True), placed(classes), placed(masks, mask_of_channels))
    got = in_blocks(evaluator, compared, 12)
    for channel, name in enumerate(names):
        inside = masks[channel] if mask_of_channels else mask
        expected = BinaryComparison.of(classes == channel, stacked[channel], VOXEL_SIZE[-mask.ndim :], 5, 3, inside)
        for criterion, about in CRITERIA.items():
            np.testing.assert_array_equal(getattr(got, f"{name}__{criterion}"), about.function(expected))


def test_a_block_that_sees_the_whole_volume_serves_the_others():
    truth, test = np.ones((2, 3), bool), np.zeros((2, 3), bool)
    test[:, 0] = True
    evaluator = BinarySegmentationEvaluator(5, 3, None)
    evaluator.margin = 1
    # The first block has two columns and sees all three. The last column sees no voxel of the test.
    got = in_blocks(evaluator, volumes(placed(test), placed(truth)), 4)
    assert got.hausdorff == 4


def test_distances_far_beyond_the_margin():
    """By brute force, in a volume of many blocks that are mostly empty."""
    rng = np.random.default_rng(0)
    truth, test = np.zeros((24, 40, 40), bool), np.zeros((24, 40, 40), bool)
    truth[:3, :5, :6], test[20:, 30:, 35:] = rng.random((3, 5, 6)) > 0.5, rng.random((4, 10, 5)) > 0.5
    test[22, 2, 3] = truth[12, 39, 39] = True
    evaluator = BinarySegmentationEvaluator(50, 3, None)
    evaluator.margin = 2
    scores = in_blocks(evaluator, volumes(placed(test), placed(truth)), 8**3)
    distances = cdist(np.argwhere(truth) * VOXEL_SIZE, np.argwhere(test) * VOXEL_SIZE)
    to_test, to_truth = distances.min(axis=1), distances.min(axis=0)
    assert scores.hausdorff == max(to_test.max(), to_truth.max())
    assert scores.mean_false_negative_distance == pytest.approx(to_test.mean(), rel=1e-12)
    assert scores.mean_false_positive_distance == pytest.approx(to_truth.mean(), rel=1e-12)
    assert scores.mean_false_positive_distance_clipped == pytest.approx(np.minimum(to_truth, 50).mean(), rel=1e-12)


@pytest.mark.parametrize(("truth_at", "test_at"), [([], [1]), ([1], []), ([], [])])
def test_nothing_far_is_looked_for_where_there_is_nothing(truth_at, test_at, monkeypatch):
    monkeypatch.setattr(BinaryBlocks, "_far_distances", lambda *_: pytest.fail("there is no distance to nothing"))
    truth, test = (np.isin(np.arange(64), at).reshape(8, 8) for at in (truth_at, test_at))
    evaluator = BinarySegmentationEvaluator(5, 3, None)
    evaluator.margin = 1
    got = in_blocks(evaluator, volumes(placed(test), placed(truth)), 4)
    expected = BinaryComparison.of(truth, test, VOXEL_SIZE[1:], 5, 3)
    np.testing.assert_array_equal(values_of(got), [c.function(expected) for c in CRITERIA.values()])


LABELS = SHAPES.flatmap(lambda s: st.tuples(*[arrays(np.uint8, s, elements=st.integers(0, 3))] * 3))


@settings(max_examples=40)
@given(LABELS, st.booleans(), st.booleans(), st.integers(1, 64), st.randoms())
def test_instance_scores_are_those_of_the_whole(cubes, masked, ignore_unlabelled, block_voxels, order):
    truth, test, mask = cubes
    inside = mask > 0 if masked else np.ones(mask.shape, bool)
    if not inside.any() or (ignore_unlabelled and not truth[inside].any()):
        return
    evaluator = InstanceEvaluator(ignore_unlabelled)
    compared = volumes(placed(test), placed(truth), placed(mask) if masked else None)
    whole = in_blocks(evaluator, compared, truth.size)
    assert values_of(in_blocks(evaluator, compared, block_voxels, order)) == values_of(whole)
    reference = ContingencyTable.of(test[inside], truth[inside])
    blocks, _ = evaluator.blocks(compared)
    counted = add_up(evaluator.tally(compared, block) for block in blocks)
    for name in ("first", "second", "counts"):
        np.testing.assert_array_equal(getattr(counted, name), getattr(reference, name))


def test_labels_that_depend_on_what_is_read_are_fixed(tmp_path):
    rng = np.random.default_rng(0)
    path, size = tmp_path / "data.zarr", (8, 12, 12)
    for name, high in (("one", 40), ("two", 9)):
        write_array(path, name, (rng.integers(0, high, size) * (rng.random(size) > 0.7)).astype(np.uint8))
    output = write_array(path, "output", rng.integers(0, 5, size).astype(np.uint64))
    sources = [ZarrArrayConfig(name, path, name) for name in ("one", "two")]
    scores = []
    for block_voxels in (2000, 60):
        evaluator = InstanceEvaluator()
        evaluator.block_voxels = block_voxels
        scores.append(evaluator.evaluate(output, MergeInstancesArray(MergeInstancesArrayConfig("merged", sources))))
    assert scores[0] == scores[1]


@pytest.mark.parametrize("evaluator", [InstanceEvaluator(), BinarySegmentationEvaluator(9, 9, None)])
def test_no_more_than_a_block_is_read_at_once(evaluator):
    rng = np.random.default_rng(0)
    truth, test, mask = (rng.integers(0, 3, (64, 96, 80), dtype=np.uint8) for _ in range(3))
    spies = [placed(values) for values in (truth, test, mask)]
    for spy in spies:
        spy.__class__ = Spy
    evaluator.margin = 2
    in_blocks(evaluator, volumes(*spies), 16**3)
    block = block_shape(Coordinate(truth.shape), 16**3)
    margin = (0, 0, 0) if isinstance(evaluator, InstanceEvaluator) else (2, 4, 4)
    assert all(0 < spy.most <= math.prod(block + Coordinate(margin)) < truth.size / 50 for spy in spies)


def test_the_dummy_counts_in_blocks(tmp_path, monkeypatch):
    values = np.random.default_rng(0).integers(0, 2, (12, 12, 12), dtype=np.uint8)
    output = write_array(tmp_path / "output.zarr", "output", values)
    assert isinstance(output, LocalArrayIdentifier)
    whole = DummyEvaluator().evaluate(output, None)
    monkeypatch.setattr(dummy_module, "BLOCK_VOXELS", 100)
    assert DummyEvaluator().evaluate(output, None) == whole
    assert whole.frizz_level == pytest.approx(values.mean())


@pytest.mark.parametrize(
    ("shape", "voxels", "expected"),
    [
        ((1024,) * 3, 2**24, (256,) * 3),
        ((768,) * 3, 2**24, (192, 192, 384)),
        ((125, 1250, 1250), 2**24, (125, 320, 320)),
        ((10, 7), 16, (3, 4)),
        ((5,), 100, (5,)),
        ((3, 3), 0, (1, 1)),
    ],
)
def test_shape_of_blocks(shape, voxels, expected):
    block = block_shape(Coordinate(shape), voxels)
    assert math.prod(block) <= max(1, voxels)
    assert tuple(block) == expected


def test_a_tally_of_several_channels_can_be_saved(tmp_path):
    rng = np.random.default_rng(0)
    truth, test = rng.random((2, 3, 8, 8)) > 0.7
    compared = volumes(placed(test, True), placed(truth, True))
    tally = BinaryBlocks(compared, 3, 1).tally(Roi(compared.roi.begin, (12, 8)))
    tally.save(tmp_path / "tally.npz")
    loaded = BinaryTally.load(tmp_path / "tally.npz")
    for name, values in tally.to_arrays().items():
        np.testing.assert_array_equal(loaded.to_arrays()[name], values)


@given(arrays(bool, array_shapes(min_dims=1, max_dims=3, max_side=4)))
def test_bounding_box(mask):
    box = bounding_box(mask)
    places = np.argwhere(mask)
    if not len(places):
        assert box is None
    else:
        np.testing.assert_array_equal(box, [places.min(axis=0), places.max(axis=0) + 1])


@given(st.lists(st.integers(0, 50)), st.lists(st.integers(0, 50)), st.floats(0, 30))
def test_counts_of_distances(one, another, limit):
    values = np.array(one + another, np.float32)
    counts = DistanceCounts.of(np.array(one, np.float32), 2) + DistanceCounts.of(np.array(another, np.float32), 2)
    distances = np.sqrt(values.astype(float)) * 2
    assert counts.counts.sum() == len(values)
    assert counts.largest == distances.max(initial=0)
    assert counts.sum(limit) == pytest.approx(np.minimum(distances, limit).sum())
    assert counts.above(limit) == (distances > limit).sum()
    unsorted = DistanceCounts.of(values * np.float32(1.25), 1)
    np.testing.assert_array_equal(unsorted.distances, np.unique(np.sqrt(values.astype(float) * 1.25)))


@pytest.mark.parametrize(
    ("voxel_size", "unit", "steps"),
    [((40, 4, 4), 4, (10, 1, 1)), ((30, 8, 8), 2, (15, 4, 4)), ((1.5, 3), 1.5, (1, 2)), ((8,), 8, (1,))],
)
def test_spacing(voxel_size, unit, steps):
    assert Spacing.of(voxel_size) == Spacing(unit, steps)


def test_boxes_that_cannot_be_nearer_are_not_read():
    boxes = np.array([[[0, 10], [4, 14]], [[0, 30], [4, 34]], [[0, 20], [4, 24]]])
    read = []

    def everything(box):
        read.append(box.tolist())
        return np.ones(box[1] - box[0], bool)

    points = np.array([[0, 0], [3, 5]])
    squared = np.array([np.inf, np.inf])
    lower_to_boxes(points, squared, boxes, everything, (1.0, 1.0))
    assert squared.tolist() == [100, 25]
    assert read == [boxes[0].tolist()]
