"""The folds keep apart what trains, what is chosen on, and what is scored."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.folds import DEPTH, FOLDS, SIDE, Fold, scores, slab


@pytest.mark.parametrize("fold", FOLDS)
def test_no_slice_has_two_roles(fold: Fold) -> None:
    parts = [range(*part) for part in [fold.scored, fold.chosen, *fold.trained()]]
    assert sorted(number for part in parts for number in part) == list(range(DEPTH))
    assert [len(part) for part in parts[:2]] == [40, 20]


def test_the_scored_slices_of_the_folds_do_not_overlap() -> None:
    numbers = [number for fold in FOLDS for number in range(*fold.scored)]
    assert len(set(numbers)) == len(numbers) == 120


def test_slab_is_in_nanometers() -> None:
    assert slab(70, 110).begin == (700, 0, 0)
    assert slab(70, 110).shape == (400, SIDE * 10, SIDE * 10)


def test_unlabeled_voxels_do_not_count() -> None:
    labels = np.array([[[1, 1, 2, 2, 0, 0]]])
    assert scores(np.array([[[5, 5, 7, 7, 5, 7]]]), labels) == (0, 0, 0)
    split, merge, error = scores(np.ones_like(labels), labels)
    assert (split, merge) == (0, 1)  # one bit tells the two objects apart
    # Of the 6 pairs, all are joined and 2 are right: precision 1/3 and recall 1.
    assert error == pytest.approx(1 - 2 * (1 / 3) / (1 / 3 + 1))
