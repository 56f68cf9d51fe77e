"""The folds keep apart what trains, what is chosen on, and what is scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from benchmarks.folds import DEPTH, FOLDS, SECTIONS, SIDE, Fold, draw, scores, slab, worst_merge


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


def test_the_worst_merge_is_named_with_its_part_of_the_score() -> None:
    labels = np.array([[[1, 1, 2, 2, 3, 3, 3, 4, 0, 0]]])
    segments = np.array([[[5, 5, 5, 5, 8, 8, 8, 8, 8, 5]]])
    # Segment 5 has two equal halves, 1 bit in each of 4 of the 8 labeled voxels; segment 8 has three quarters and one.
    assert worst_merge(segments, labels) == (5, pytest.approx(0.5))
    quarters = 0.75 * np.log2(4 / 3) + 0.25 * 2
    assert scores(segments, labels)[1] == pytest.approx(0.5 + quarters / 2)
    assert worst_merge(labels, labels)[1] == 0


def test_a_picture_shows_the_worst_segment_in_the_colors_of_its_neurons(tmp_path: Path) -> None:
    labels = np.zeros((9, 4, 6), np.uint32)
    labels[..., :3], labels[..., 3:] = 1, 2
    segments = np.where(labels == 1, 7, 9)
    segments[:, :2] = 7
    raw = np.zeros(labels.shape, np.float32)
    raw[0] = 1  # a section that is not shown
    draw(tmp_path / "sheet.png", raw, labels, segments, 7)
    sheet = imread(tmp_path / "sheet.png")[..., :3]
    assert sheet.shape == (SECTIONS * 4, 4 * 6, 3)
    shown, neurons, _, worst = np.split(sheet[:4], 4, axis=1)
    assert not shown.any()
    inside = segments[0] == 7
    np.testing.assert_array_equal(worst[inside], neurons[inside])
    assert not worst[~inside].any()
