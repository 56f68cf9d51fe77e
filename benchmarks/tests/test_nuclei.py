"""The benchmark of nuclei keeps its bands apart, and scores as other libraries do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.optimize import linear_sum_assignment
from skimage.metrics import contingency_table, variation_of_information

from benchmarks.nuclei import __main__ as nuclei_benchmark
from benchmarks.nuclei import threshold
from benchmarks.nuclei.data import BANDS, FILES, FOLDS, Fold, Nuclei, band_rows
from benchmarks.nuclei.scores import matches, of_foreground, of_instances
from dacapo.demo import synthetic_nuclei

HEIGHT = 400


@pytest.mark.parametrize("fold", FOLDS)
def test_no_row_has_two_roles(fold: Fold) -> None:
    parts = [band_rows(fold.scored, HEIGHT), band_rows(fold.chosen, HEIGHT), *fold.trained(HEIGHT)]
    assert sorted(row for part in parts for row in range(*part)) == list(range(HEIGHT))


def test_all_rows_are_scored_once() -> None:
    assert sorted(fold.scored for fold in FOLDS) == list(range(BANDS))


def test_adjacent_bands_train_as_one_part() -> None:
    assert Fold(0, 1).trained(HEIGHT) == [(200, 400)]
    assert Fold(1, 2).trained(HEIGHT) == [(0, 100), (300, 400)]


def test_scores_of_a_small_example() -> None:
    labels = np.array([[1, 1, 1, 1, 0, 2, 2, 0, 3, 3]])
    segments = np.array([[5, 5, 5, 0, 0, 6, 6, 6, 0, 0]])
    # 3 of 4 and 2 of 3 pixels match; the third nucleus is missed.
    found = matches(segments, labels)
    assert (found.found, found.nuclei, found.segments) == (2, 3, 2)
    assert found.f1 == pytest.approx(4 / 5)
    assert found.precision == pytest.approx(2 / 3)
    assert found.aggregated_jaccard == pytest.approx((3 + 2) / (4 + 3 + 2))
    assert of_foreground(segments, labels) == pytest.approx({"Dice": 2 * 5 / 14, "IoU": 5 / 9})


def test_superfluous_segments_count_in_the_union() -> None:
    labels = np.array([[1, 1, 0, 0, 0]])
    found = matches(np.array([[4, 4, 0, 7, 7]]), labels)
    assert found.aggregated_jaccard == pytest.approx(2 / 4)
    assert (found.f1, found.precision) == pytest.approx((2 / 3, 1 / 2))


def test_half_of_the_union_is_no_match() -> None:
    assert matches(np.array([[1, 0]]), np.array([[1, 1]])).found == 0


def test_without_segments_nothing_is_found() -> None:
    labels = np.array([[1, 1, 0, 2]])
    scores = of_instances(np.zeros_like(labels), labels)
    assert (scores["F1"], scores["AP"], scores["AJI"], scores["split"]) == (0, 0, 0, 0)


def test_scores_are_those_of_other_libraries() -> None:
    image, labels = synthetic_nuclei((160, 160), seed=3)
    segments = threshold.watershed_of_distances(image, 1, 0.9, 1, 5)
    scores = of_instances(segments, labels.astype(np.int64))
    theirs = variation_of_information(segments, labels.astype(np.int64))
    assert sorted([scores["split"], scores["merge"]]) == pytest.approx(sorted(theirs))
    both = contingency_table(segments, labels.astype(np.int64)).toarray()
    either = both.sum(axis=0) + both.sum(axis=1, keepdims=True) - both
    overlaps = (both / np.maximum(either, 1))[1:, 1:]
    pairs = (overlaps[linear_sum_assignment(overlaps > 0.5, maximize=True)] > 0.5).sum()
    objects = len(np.unique(labels)) + len(np.unique(segments)) - 2
    assert 0 < pairs < objects / 2
    assert scores["F1"] == pytest.approx(2 * pairs / objects)
    assert scores["AP"] == pytest.approx(pairs / (objects - pairs))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with an image in the files of the real one."""
    image, labels = synthetic_nuclei((400, 128), seed=1)
    for name, values in zip(FILES.values(), (image, labels), strict=True):
        tifffile.imwrite(tmp_path / name, values.astype(np.uint16))
    return tmp_path


@pytest.mark.slow
def test_it_prints_a_row_for_each_program_and_keeps_results(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {name: values[:2] for name, values in threshold.PARAMETERS.items()}
    monkeypatch.setattr(threshold, "PARAMETERS", few)
    arguments = [str(folder), "--seconds", "1", "--seeds", "1", "2", "--bands", "2", "--output", str(folder / "out")]
    nuclei_benchmark.main(arguments)
    rows = table(capsys.readouterr().out)
    assert list(rows) == ["dacapo affinities", "dacapo hot distances", "scikit-image watershed"]
    assert "±" in rows["dacapo affinities"]
    assert "±" not in rows["scikit-image watershed"]
    assert rows["dacapo hot distances"].split()[3:9] == ["-"] * 6  # a mask has no instances
    monkeypatch.setattr(nuclei_benchmark.ours, "segmented", None)
    nuclei_benchmark.main(arguments)
    assert table(capsys.readouterr().out) == rows


def table(printed: str) -> dict[str, str]:
    """Return the rest of each row of the last table by the name of its program."""
    lines = printed[printed.index("program ") :].splitlines()[1:]
    names = ["dacapo affinities", "dacapo hot distances", "scikit-image watershed"]
    return {name: line.removeprefix(name) for line in lines for name in names if line.startswith(name)}


def test_image_is_written_as_it_is_read(folder: Path, tmp_path: Path) -> None:
    import zarr

    nuclei = Nuclei.read(folder)
    container = zarr.open(str(nuclei.write(tmp_path / "nuclei.zarr")), mode="r")
    np.testing.assert_array_equal(container["raw"][:], nuclei.raw)
    np.testing.assert_array_equal(container["labels"][:], nuclei.labels)
    np.testing.assert_array_equal(nuclei.band(1).labels, nuclei.labels[100:200])
