"""The one rule by which the best of several scores is chosen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dacapo.utils.ranking import choose, first_best

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("values", "higher", "index"),
    [
        ([0.1, 0.9, 0.9], True, 1),
        ([0.9, 0.1, 0.1], False, 1),
        ([NAN, 5.0, NAN], False, 1),
        ([NAN, INF], False, 1),
        ([NAN, -INF], True, 1),
        ([-INF, 3.0], False, 0),
    ],
)
def test_the_first_of_the_best_wins_and_nan_never(values: list[float], higher: bool, index: int) -> None:
    assert first_best(values, higher) == (index, True)


@pytest.mark.parametrize("values", [[], [NAN], [NAN, NAN]])
def test_without_a_number_nothing_is_found(values: list[float]) -> None:
    assert not first_best(values, True)[1]


def test_each_row_has_its_direction() -> None:
    values = np.array([[[1.0, 2.0], [1.0, 2.0]], [[NAN, 2.0], [3.0, NAN]]])
    index, found = first_best(values, np.array([True, False]))
    assert index.tolist() == [[1, 0], [1, 0]]
    assert found.all()


def choice(rows: list[list[float]], truth: list[bool], higher: bool = False) -> tuple[int | None, float]:
    found = choose(np.array(rows, dtype=float), np.array(truth), higher)
    return found.index, found.value


def test_what_has_no_truth_is_left_out_for_all() -> None:
    # The second would win if its 0.0 counted.
    rows = [[1.0, NAN], [1.5, 0.0]]
    assert choice(rows, [True, False]) == (0, 1.0)


def test_what_no_candidate_has_is_left_out_and_named() -> None:
    found = choose(np.array([[2.0, NAN], [1.0, NAN]]), np.array([True, True]), False)
    assert (found.index, found.value) == (1, 1.0)
    assert found.unknown.tolist() == [False, True]
    assert not found.untrue.any()
    assert not found.missing.any()


@pytest.mark.parametrize("higher", [False, True])
def test_a_missing_score_never_helps(higher: bool) -> None:
    sign = -1 if higher else 1
    complete, lacking = [3.0 * sign, 9.0 * sign], [0.1 * sign, NAN]
    assert choice([lacking, complete], [True, True], higher) == (1, 6.0 * sign)


def test_if_all_lack_something_the_worst_of_the_others_stands_for_it() -> None:
    rows = [[1.0, NAN, 4.0], [NAN, 2.0, 1.0], [3.0, 5.0, NAN]]
    # Filled: (1 + 5 + 4), (3 + 2 + 1), (3 + 5 + 4)
    assert choice(rows, [True] * 3) == (1, 2.0)


def test_ties_go_to_the_first() -> None:
    assert choice([[2.0, NAN], [1.0, 2.0], [2.0, 1.0]], [True, True]) == (1, 1.5)


@pytest.mark.parametrize(
    ("rows", "truth"), [([[NAN, NAN]], [True, True]), ([[1.0, 2.0]], [False, False]), ([[NAN, 1.0]], [True, False])]
)
def test_without_a_score_that_counts_there_is_no_best(rows: list[list[float]], truth: list[bool]) -> None:
    assert choice(rows, truth)[0] is None


def test_without_candidates_there_is_no_best() -> None:
    assert choose(np.zeros((0, 2)), np.array([False, False]), True).index is None
