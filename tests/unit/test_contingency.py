"""Contingency tables, and the sums that make them up."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import adapted_rand_error, variation_of_information

from dacapo.errors import DtypeError, EvaluationError, StorageError
from dacapo.utils import contingency
from dacapo.utils.contingency import ContingencyTable, adapted_rand
from dacapo.utils.tally import add_up
from dacapo.utils.voi import voi

# Few labels, some of them near the ends of 64 bits.
NAMES = np.array([0, 1, 5, 2**63, 2**64 - 1], np.uint64)
LABELS = arrays(np.uint8, (4, 5), elements=st.integers(0, 4)).map(NAMES.__getitem__)


def rows(table):
    return list(zip(*(column.tolist() for column in (table.first, table.second, table.counts)), strict=True))


def expected_rows(first, second):
    pairs = Counter(zip(first.ravel().tolist(), second.ravel().tolist(), strict=True))
    return [(*pair, count) for pair, count in sorted(pairs.items())]


@pytest.mark.parametrize("spare", [0, 100], ids=["sorted", "counted in place"])
@given(first=LABELS, second=LABELS)
def test_counts_each_pair(spare, first, second):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contingency, "_SPARE", spare)
        assert rows(ContingencyTable.of(first, second)) == expected_rows(first, second)


@given(LABELS, LABELS, st.lists(st.integers(0, 4), max_size=3), st.randoms())
def test_parts_add_up_to_the_whole_in_any_order(first, second, cuts, random):
    bounds = [0, *sorted(cuts), 4]
    parts = [ContingencyTable.of(first[a:b], second[a:b]) for a, b in itertools.pairwise(bounds)]
    random.shuffle(parts)
    whole = ContingencyTable.of(first, second)
    for total in (add_up(parts), sum(parts, ContingencyTable())):
        assert rows(total) == rows(whole)
        # Not only nearly: from the same table follow the same numbers.
        assert contingency.variation_of_information(total) == contingency.variation_of_information(whole)


@given(LABELS, LABELS)
def test_counts_of_single_labels(first, second):
    table = ContingencyTable.of(first, second)
    for counts, labels in ((table.first_counts, first), (table.second_counts, second)):
        np.testing.assert_array_equal(counts, np.unique(labels, return_counts=True)[1])
    assert table.total == first.size


@given(LABELS, LABELS, st.sets(st.sampled_from(NAMES.tolist())), st.sets(st.sampled_from(NAMES.tolist())))
def test_leaving_labels_out(first, second, ignored_first, ignored_second):
    keep = ~np.isin(first, np.array(sorted(ignored_first), np.uint64))
    keep &= ~np.isin(second, np.array(sorted(ignored_second), np.uint64))
    left = ContingencyTable.of(first, second).without(sorted(ignored_first), sorted(ignored_second))
    assert rows(left) == expected_rows(first[keep], second[keep])


@given(LABELS, LABELS)
def test_adapted_rand_equals_skimage(truth, test):
    # Where a segmentation joins no pair of voxels, skimage divides by nothing.
    assume(len(np.unique(truth)) < truth.size)
    assume(len(np.unique(test)) < test.size)
    small = [np.searchsorted(NAMES, labels) for labels in (truth, test)]
    # Its table has the truth in front, so that what it calls precision is the part of the pairs of the truth, although
    # its documentation says that of the test; the brute force below settles it.
    error, recall, precision = adapted_rand_error(*small, ignore_labels=())
    scores = adapted_rand(ContingencyTable.of(test, truth))
    np.testing.assert_allclose((scores.error, scores.precision, scores.recall), (error, precision, recall), atol=1e-12)


@given(LABELS, LABELS)
def test_adapted_rand_counts_pairs_of_voxels(truth, test):
    """By definition, one pair after another."""
    truth, test = truth.ravel(), test.ravel()
    pairs = list(itertools.combinations(range(truth.size), 2))
    in_truth = {p for p in pairs if truth[p[0]] == truth[p[1]]}
    in_test = {p for p in pairs if test[p[0]] == test[p[1]]}
    scores = adapted_rand(ContingencyTable.of(test, truth))
    assert scores.precision == pytest.approx(len(in_truth & in_test) / len(in_test) if in_test else np.nan, nan_ok=True)
    assert scores.recall == pytest.approx(len(in_truth & in_test) / len(in_truth) if in_truth else np.nan, nan_ok=True)


def test_pairs_of_a_volume_with_more_voxels_than_doubles_count():
    huge = ContingencyTable(np.array([1, 2], np.uint64), np.array([1, 1], np.uint64), np.array([2**60, 1]))
    assert contingency._pairs(huge.second_counts) == (2**60 + 1) * 2**60
    assert adapted_rand(huge).precision == 1


def test_nothing_in_common_is_all_wrong():
    truth, test = np.array([[1, 1], [2, 2]]), np.array([[1, 2], [1, 2]])
    assert adapted_rand(ContingencyTable.of(test, truth)).error == 1


@given(LABELS, LABELS)
def test_voi_equals_skimage(truth, test):
    expected = variation_of_information(np.searchsorted(NAMES, truth), np.searchsorted(NAMES, test))
    np.testing.assert_allclose(voi(test, truth, ignore_groundtruth=[]), expected, atol=1e-12)


def test_negative_labels_stay_apart():
    first, second = np.array([-1, -1, 3], np.int32), np.array([True, False, True])
    assert rows(ContingencyTable.of(first, second)) == [(3, 1, 1), (2**64 - 1, 0, 1), (2**64 - 1, 1, 1)]
    assert len(ContingencyTable.of(first, second).without(first=[-1])) == 1


def test_a_table_can_be_saved(tmp_path):
    table = ContingencyTable.of(np.arange(6).reshape(2, 3) // 2, np.arange(6).reshape(2, 3) // 3)
    path = tmp_path / "new" / "table.npz"
    table.save(path)
    assert rows(ContingencyTable.load(path)) == rows(table)
    assert [file.name for file in path.parent.iterdir()] == ["table.npz"]
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StorageError, match=r"table\.npz is missing or damaged"):
        ContingencyTable.load(path)


def test_tables_of_nothing():
    nothing = ContingencyTable.of(np.zeros((0, 3), int), np.zeros((0, 3), int))
    table = ContingencyTable.of(np.array([7]), np.array([8]))
    assert rows(nothing + table) == rows(table + nothing) == [(7, 8, 1)]
    assert len(nothing + nothing) == nothing.total == len(nothing.first_counts) == len(nothing.second_counts) == 0
    with pytest.raises(ValueError, match="no tallies to add"):
        add_up([])


def test_few_tables_are_held_while_many_are_added():
    held, most = 0, 0

    class Held:
        def __init__(self, weight=1):
            nonlocal held, most
            self.weight = weight
            held += 1
            most = max(most, held)

        def __del__(self):
            nonlocal held
            held -= 1

        def __add__(self, other):
            return Held(self.weight + other.weight)

    assert add_up(Held() for _ in range(1000)).weight == 1000
    assert most <= 13


def test_what_cannot_be_compared():
    with pytest.raises(EvaluationError, match=r"\(2,\).*\(3,\)"):
        ContingencyTable.of(np.zeros(2, int), np.zeros(3, int))
    with pytest.raises(DtypeError, match="truth is float64"):
        ContingencyTable.of(np.zeros(2, int), np.zeros(2))
