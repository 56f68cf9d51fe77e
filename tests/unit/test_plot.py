"""Pictures are written as asked, show what they are given, and give matching objects matching colours."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dacapo.errors import MissingDependencyError
from dacapo.plot import Progress, Slices, label_colors, match_labels, save_overview
from dacapo.utils.drawing import draw_scale_bar

PROGRESS = Progress(
    losses=np.linspace(1, 0.2, 60).tolist(),
    validated=[0, 30, 60],
    voi_split=[0.1, 2, 1],
    voi_merge=[5, 1, 0.5],
    best=60,
)


def slices(seed: int = 0) -> Slices:
    rng = np.random.default_rng(seed)
    labels = rng.integers(1, 9, (8, 10)).repeat(5, axis=0).repeat(5, axis=1)
    return Slices(
        raw=rng.integers(0, 255, labels.shape).astype(np.uint8),
        truth=labels,
        prediction=rng.random(labels.shape),
        segmentation=labels + 3,
        voxel_size=8,
        unit="nm",
    )


def pixels(path: Path) -> np.ndarray[Any, Any]:
    from matplotlib.image import imread

    return np.asarray(imread(path))


def test_size_of_the_picture(tmp_path: Path) -> None:
    save_overview(tmp_path / "a.png", slices(), PROGRESS)
    assert pixels(tmp_path / "a.png").shape[:2] == (726, 1320)


def test_the_same_data_gives_the_same_picture(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_overview(tmp_path / name, slices(), PROGRESS)
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))


def test_other_slices_change_only_the_upper_half_and_other_scores_only_the_lower(tmp_path: Path) -> None:
    save_overview(tmp_path / "a.png", slices(), PROGRESS)
    save_overview(tmp_path / "slices.png", slices(1), PROGRESS)
    other = Progress(PROGRESS.losses, PROGRESS.validated, [0.1, 1.5, 1], PROGRESS.voi_merge, best=60)
    save_overview(tmp_path / "scores.png", slices(), other)
    first = pixels(tmp_path / "a.png")
    for name, half in (("slices.png", slice(0, 378)), ("scores.png", slice(378, None))):
        rows = np.flatnonzero((pixels(tmp_path / name) != first).any(axis=(1, 2)))
        assert len(rows) > 20
        assert set(rows) <= set(range(726)[half])


def test_no_global_state_of_matplotlib_is_touched(tmp_path: Path) -> None:
    import matplotlib
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    save_overview(tmp_path / "a.png", slices(), PROGRESS)
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []


def test_a_run_without_validations_or_iterations_can_be_drawn(tmp_path: Path) -> None:
    save_overview(tmp_path / "a.png", slices(), Progress([], [], [], []))
    assert (tmp_path / "a.png").stat().st_size > 0


def test_matplotlib_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dacapo\[plot\]'"):
        save_overview(tmp_path / "a.png", slices(), PROGRESS)


def test_colours_depend_on_the_label_only_and_background_is_black() -> None:
    colors = label_colors(np.array([[0, 1, 2], [2, 1, 0]]))
    assert colors.shape == (2, 3, 3)
    np.testing.assert_array_equal(colors[0], colors[1, ::-1])
    np.testing.assert_array_equal(colors[0, 0], 0)
    many = label_colors(np.arange(1, 200))
    assert len(np.unique(many, axis=0)) == 199
    assert many.min() >= 0
    assert many.max() <= 1


def test_a_permuted_truth_matches_itself() -> None:
    truth = np.arange(6).repeat(10).reshape(6, 10)
    permuted = np.array([0, 40, 10, 50, 30, 20])[truth]
    np.testing.assert_array_equal(match_labels(permuted, truth), truth)


def test_a_cut_object_names_its_larger_part_and_a_merger_is_named_after_its_larger_object() -> None:
    truth = np.array([1, 1, 1, 1, 1, 2, 2, 2, 3, 3])
    cut = np.array([7, 7, 7, 8, 8, 9, 9, 9, 9, 9])
    matched = match_labels(cut, truth)
    assert matched[:3].tolist() == [1, 1, 1]
    assert len(set(matched[3:5])) == 1
    assert matched[3] > 3
    assert set(matched[5:]) == {2}


def test_matching_keeps_segments_apart_and_background_background() -> None:
    rng = np.random.default_rng(3)
    segmentation, truth = rng.integers(0, 12, (2, 20, 20))
    matched = match_labels(segmentation, truth)
    pairs = {(int(a), int(b)) for a, b in zip(segmentation.ravel(), matched.ravel(), strict=True)}
    assert len(pairs) == len(np.unique(segmentation)) == len(np.unique(matched))
    assert (0, 0) in pairs


@pytest.mark.parametrize(("shape", "inside"), [((40, 50), True), ((200, 20), False), ((20, 200), False)])
def test_the_scale_bar_and_its_length_lie_inside_the_image_or_below_it(shape: tuple[int, int], inside: bool) -> None:
    figure = Figure(figsize=(8, 3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 4)[0]
    axes.imshow(np.zeros(shape))
    draw_scale_bar(axes, shape, 8, "nm")
    figure.draw_without_rendering()
    (text,), (bar,) = axes.texts, axes.get_lines()
    image = axes.images[0].get_window_extent()
    length = bar.get_window_extent().width / image.width * shape[1] * 8
    assert text.get_text() == f"{length:.0f} nm"
    assert text.get_fontsize() == 10  # as all words of the picture
    for box in (text.get_window_extent(), bar.get_window_extent()):
        assert image.x0 - 1 <= box.x0
        assert box.x1 <= image.x1 or not inside
        assert (image.y0 <= box.y0 and box.y1 <= image.y1) if inside else box.y1 < image.y0
