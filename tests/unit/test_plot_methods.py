"""Runs, records and data draw themselves."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import attrs
import imageio.v3 as imageio
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

import dacapo
from dacapo.errors import ConfigError, NotFoundError, RoiError
from dacapo.experiments.datasplits import DataSplit
from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.datasplits.datasets.arrays import Array, NumpyArray
from dacapo.experiments.datasplits.datasets.arrays.slice_viewer import SliceViewer
from dacapo.experiments.run import Run
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.options import DaCapoConfig
from tests.helpers.runs import dummy_run_config

SHAPE = (12, 30, 40)
VOXEL = Coordinate(40, 8, 8)


def array_of(values: np.ndarray, offset: tuple[int, ...] = (0, 0, 0)) -> Array:
    return NumpyArray.from_np_array(values, Roi(offset, Coordinate(values.shape) * VOXEL), VOXEL, ["z", "y", "x"])


class Cells(Dataset):
    """Raw data that grows along x, and one object."""

    name = "cells"

    def __init__(self) -> None:
        self.raw = array_of(np.broadcast_to(np.arange(SHAPE[2], dtype=np.uint8), SHAPE))
        labels = np.zeros(SHAPE, dtype=np.uint32)
        labels[:, 10:20, 10:20] = 7
        self.gt = array_of(labels)


class Split(DataSplit):
    def __init__(self) -> None:
        self.train, self.validate = [Cells(), Cells()], [Cells()]


@pytest.fixture
def run(options: DaCapoConfig) -> Run:
    return Run(dummy_run_config())


def test_losses_are_drawn_at_their_iterations() -> None:
    stats = TrainingStats([TrainingIterationStats(iteration=i, loss=1 / (i + 1), time=0.1) for i in range(100, 150)])
    (axes,) = stats.plot().axes
    each = axes.get_lines()[0]
    np.testing.assert_array_equal(each.get_xdata(), np.arange(101, 151))
    np.testing.assert_allclose(each.get_ydata(), [1 / (i + 1) for i in range(100, 150)])


def stats_of(losses: list[float]) -> TrainingStats:
    return TrainingStats([TrainingIterationStats(iteration=i, loss=loss, time=0.1) for i, loss in enumerate(losses)])


@pytest.mark.parametrize("losses", [[-3.0, -2.0, -1.0], [2.0], [1.0, 2.0], [-1.0, 3.0]])
def test_all_losses_are_visible(losses: list[float]) -> None:
    (axes,) = stats_of(losses).plot().axes
    low, high = axes.get_ylim()
    assert low <= min(0, *losses) < max(losses) <= high
    assert low == 0 or min(losses) < 0
    assert len(losses) > 1 or axes.get_lines()[0].get_marker() == "o"


def test_a_loss_that_is_nan_leaves_a_gap() -> None:
    losses = [float(i) for i in range(100)]
    losses[50] = np.nan
    (axes,) = stats_of(losses).plot().axes
    each, mean = (np.asarray(line.get_ydata()) for line in axes.get_lines())
    assert np.isnan(each).sum() == np.isnan(mean).sum() == 1
    np.testing.assert_allclose(mean[[49, 51, 99]], [47.5, (48 + 49 + 51) / 3, 97.5])


def test_many_datasets_are_named_beside_the_scores_and_look_different(run: Run) -> None:
    record = attrs.evolve(run.validation_scores, datasets=[Cells() for _ in range(8)])
    values = np.zeros((8, len(record.parameters), len(record.criteria)))
    record.add_iteration_scores(ValidationIterationScores(iteration=0, scores=values.tolist()))
    figure = record.plot()
    figure.draw_without_rendering()
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_window_extent().x0 >= axes.get_window_extent().x1
    assert len({(line.get_color(), line.get_marker()) for line in axes.get_lines()[:8]}) == 8


def test_empty_records_say_so(run: Run) -> None:
    loss, scores = run.plot().axes
    assert [text.get_text() for text in loss.texts] == ["not trained yet"]
    assert [text.get_text() for text in scores.texts] == ["no validation datasets"]


def test_scores_are_those_of_the_best_parameters(run: Run) -> None:
    record = attrs.evolve(run.validation_scores, datasets=[Cells(), Cells()])
    shape = len(record.datasets), len(record.parameters), len(record.criteria)
    values = np.random.default_rng(0).random((3, *shape))
    for number, found in enumerate(values):
        record.add_iteration_scores(ValidationIterationScores(iteration=10 * number, scores=found.tolist()))
    criterion = record.criteria[-1]
    (empty,) = attrs.evolve(record, scores=[]).plot().axes
    assert [text.get_text() for text in empty.texts] == ["not validated yet"]
    (axes,) = record.plot(criterion).axes
    best = max if record.evaluation_scores.higher_is_better(criterion) else min
    for dataset, line in enumerate(axes.get_lines()[: shape[0]]):
        np.testing.assert_array_equal(line.get_xdata(), [0, 10, 20])
        np.testing.assert_allclose(line.get_ydata(), [best(found[dataset, :, -1]) for found in values])
    ring = axes.get_lines()[shape[0]]
    assert ring.get_ydata()[0] == best(values[:, 0, :, -1].ravel())
    with pytest.raises(NotFoundError, match=f"no criterion 'nonsense', only {record.criteria[0]}"):
        record.plot("nonsense")


def test_notebooks_show_figures() -> None:
    png = TrainingStats().plot()._repr_png_()  # type: ignore[attr-defined]
    assert imageio.imread(io.BytesIO(png)).shape[2] in (3, 4)


def test_a_dataset_is_drawn_with_its_truth() -> None:
    raw, truth, both = Cells().plot(position=100).axes
    image = raw.get_images()[0].get_array()
    np.testing.assert_array_equal(image, Cells().raw[Roi((80, 0, 0), (40, 240, 320))][0])
    assert raw.get_ylabel() == "cells\nz 80 to 120"
    labels = np.asarray(truth.get_images()[0].get_array())
    assert (labels[15, 15] > 0).any()
    assert not labels[0, 0].any()
    opacity = np.asarray(both.get_images()[1].get_array())[..., 3]
    assert 0 < opacity[15, 15] < 255
    assert opacity[0, 0] == 0


def test_a_position_outside_is_an_error() -> None:
    with pytest.raises(RoiError, match=r"position 480 is outside of .* spans 0 to 480"):
        Cells().plot(480)


def test_a_datasplit_has_a_row_for_each_dataset() -> None:
    split = Split()
    names = [axes.get_ylabel().splitlines()[:2] for axes in split.plot().axes if axes.get_ylabel()]
    assert names == [["train", "cells"], ["train", "cells"], ["validate", "cells"]]
    table = split._repr_html_()
    assert table.count("<tr>") == 1 + 3 * 2
    assert "2 to train, 1 to validate" in table
    assert "(12, 30, 40)" in Cells()._repr_html_()


def stacks_of(viewer: SliceViewer) -> list[dict]:  # type: ignore[type-arg]
    (found,) = re.findall(r"const stacks = (.*);\n", viewer.page())
    stacks: list[dict] = json.loads(found)  # type: ignore[type-arg]
    return stacks


def pixels(address: str) -> np.ndarray:
    return imageio.imread(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def test_slices_along_each_axis_are_at_their_place() -> None:
    cells = Cells()
    stacks = stacks_of(cells.show())
    assert [stack["axis"] for stack in stacks] == ["z", "y", "x"]
    assert [len(stack["slices"]) for stack in stacks] == [12, 24, 24]
    along_z, along_y, along_x = stacks
    assert along_z["slices"][3]["place"] == "z 120 to 160"
    assert pixels(along_z["slices"][3]["raw"]).shape == (30, 40)
    assert (along_z["width"], along_z["height"]) == (420, 315)  # 320 by 240 world units
    assert (along_y["width"], along_y["height"]) == (280, 420)  # 320 by 480, though 40 by 12 voxels
    first, last = (pixels(along_x["slices"][number]["raw"]) for number in (0, -1))
    assert first.max() < 20 < 235 < last.min()
    labels = pixels(along_z["slices"][0]["labels"])
    assert labels[15, 15, 3] == 255
    assert labels[0, 0, 3] == 0


def test_a_large_volume_is_limited_to_its_middle(tmp_path: Path) -> None:
    raw = np.zeros((2, 600, 20), dtype=np.uint8)
    viewer = dacapo.show_slices(raw)
    assert viewer.roi == Roi((0, 172, 0), (2, 256, 20))
    viewer.save(tmp_path / "slices.html")
    assert "<script>" in (tmp_path / "slices.html").read_text()
    assert "<script>" not in viewer._repr_html_()  # it is inside of the frame


def test_a_plane_has_one_picture() -> None:
    (stack,) = stacks_of(dacapo.show_slices(np.eye(16), np.eye(16, dtype=np.uint8), voxel_size=(4, 4), unit="nm"))
    assert len(stack["slices"]) == 1
    assert stack["width"] == stack["height"] == 420


def test_labels_elsewhere_are_an_error() -> None:
    labels = array_of(np.ones(SHAPE, np.uint8), offset=(4000, 0, 0))
    with pytest.raises(ConfigError, match="do not overlap"):
        SliceViewer(Cells().raw, labels)
    with pytest.raises(ConfigError, match="does not overlap the image"):
        SliceViewer(Cells().raw, roi=Roi((4000, 0, 0), (40, 8, 8)))
    with pytest.raises(ConfigError, match="3 axes in space, the labels have 2"):
        dacapo.show_slices(np.zeros(SHAPE), np.zeros(SHAPE[1:], int))
    with pytest.raises(RoiError, match=r"region is \(1, 2\); expected a Roi of 3 axes"):
        SliceViewer(Cells().raw, roi=(1, 2))  # type: ignore[arg-type]


def coarse_labels() -> Array:
    """Return labels with voxels three times as large as those of the raw data, which begin inside one of them."""
    values = np.zeros((6, 8, 10), dtype=np.int16)
    values[:, 2:4, 1:5] = 3
    roi = Roi((0, 16, 16), Coordinate(values.shape) * Coordinate(80, 24, 24))
    return NumpyArray.from_np_array(values, roi, Coordinate(80, 24, 24), ["z", "y", "x"])


def test_labels_with_other_voxels_lie_where_they_are_in_the_world() -> None:
    cells = Cells()
    cells.gt, cells.mask = coarse_labels(), array_of(np.ones(SHAPE, np.uint8))
    expected = np.zeros(SHAPE[1:], dtype=bool)
    expected[2 + 6 : 2 + 12, 2 + 3 : 2 + 15] = True  # 16 world units and two voxels on, from 16
    shown = stacks_of(cells.show(Roi((0, 0, 0), Coordinate(SHAPE) * VOXEL)))[0]["slices"][3]
    np.testing.assert_array_equal(pixels(shown["labels"])[..., 3] > 0, expected)
    _, _, over_raw, mask = cells.plot(100).axes
    drawn = np.asarray(over_raw.get_images()[1].get_array())[..., 3] > 0
    np.testing.assert_array_equal(drawn, expected[2:26, 2:32])  # the section ends where the truth does
    assert (np.asarray(mask.get_images()[0].get_array()) < 255).all()  # not as white as the paper


def test_empty_panels_say_why() -> None:
    split = Split()
    split.validate[0].mask = array_of(np.ones(SHAPE, np.uint8))
    split.train[0].gt = None
    words = [text.get_text() for axes in split.plot().axes for text in axes.texts if text.get_text()[:2] == "no"]
    assert words == ["no truth", "no truth", "no mask", "no mask"]
    split.train, split.validate = [], []
    assert [text.get_text() for text in split.plot().axes[0].texts] == ["no datasets"]


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_hide_no_others(odd: float) -> None:
    raw = np.broadcast_to(np.linspace(0, 1, SHAPE[2]), SHAPE).copy()
    raw[:, :5] = odd
    image = pixels(stacks_of(dacapo.show_slices(raw))[0]["slices"][0]["raw"])
    assert set(image[:5].ravel()) == {255 if odd > 0 else 0}
    assert (np.diff(image[-1].astype(int)) >= 0).all()
    assert image[-1].min() < 10 < 245 < image[-1].max()


def test_masks_are_black_and_white() -> None:
    raw = np.zeros(SHAPE, dtype=bool)
    raw[:, :3] = True
    image = pixels(stacks_of(dacapo.show_slices(raw))[0]["slices"][0]["raw"])
    assert (image[:3] == 255).all()
    assert (image[3:] == 0).all()


def test_three_channels_are_red_green_and_blue() -> None:
    affinities = np.zeros((4, *SHAPE), dtype=np.float32)
    affinities[2] = 1
    shown = dacapo.show_slices(affinities, channel=(0, 2, 3))
    image = pixels(stacks_of(shown)[1]["slices"][0]["raw"])
    assert image.shape == (12, 40, 3)
    np.testing.assert_array_equal(image[..., 1], 255)
    np.testing.assert_array_equal(image[..., [0, 2]], 0)
    assert pixels(stacks_of(dacapo.show_slices(affinities, channel=2))[0]["slices"][0]["raw"]).shape == (30, 40)
    with pytest.raises(ConfigError, match=r"channel is 4; expected a number below 4, .* has 4 channels"):
        dacapo.show_slices(affinities, channel=4)
    with pytest.raises(ConfigError, match="has no axis of channels"):
        Cells().show(channel=1)


def test_labels_in_memory_take_the_place_of_an_image_of_their_shape() -> None:
    raw = array_of(np.zeros(SHAPE), offset=(400, 80, 80))
    viewer = dacapo.show_slices(raw, np.ones(SHAPE, np.uint8))
    assert viewer.labels is not None
    assert (viewer.labels.roi, viewer.labels.voxel_size) == (raw.roi, VOXEL)


def test_labels_in_another_unit_lie_where_they_are() -> None:
    import xarray as xr

    def volume(values: np.ndarray, step: float, unit: str) -> xr.DataArray:
        place = {
            axis: (axis, np.arange(n) * step, {"units": unit}) for axis, n in zip("zyx", values.shape, strict=True)
        }
        return xr.DataArray(values, dims=list("zyx"), coords=place)

    labels = np.zeros((4, 6, 8), np.uint8)
    labels[:, 3:] = 1
    shown = dacapo.show_slices(volume(np.zeros((8, 12, 16)), 5.5, "nm"), volume(labels, 0.011, "um"))
    image = pixels(stacks_of(shown)[0]["slices"][0]["labels"])
    np.testing.assert_array_equal(image[..., 3] > 0, np.arange(12)[:, np.newaxis].repeat(16, axis=1) >= 6)
