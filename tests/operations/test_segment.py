"""From arrays to a trained run in one call, and to a segmentation in three."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import xarray as xr
import zarr
from funlib.geometry import Coordinate, Roi

import dacapo
from dacapo.errors import ArrayNotFoundError, ConfigError, DtypeError, DuplicateNameError, MetadataError, RoiError
from dacapo.experiments import Run
from dacapo.experiments.datasplits import TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets.arrays import BinarizeArrayConfig, MemoryArrayConfig, memory_array
from dacapo.experiments.tasks import AffinitiesTaskConfig, DistanceTaskConfig, OneHotTaskConfig
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_config_store
from tests.helpers.runs import dataset_config, unet_config
from tests.helpers.volumes import cells, write_array

pytestmark = pytest.mark.usefixtures("options")

SMALL: dict[str, Any] = {"num_iterations": 2, "architecture_config": unet_config(2), "validation_interval": 2}


def flat(seed: int = 0, size: int = 60) -> tuple[np.ndarray, np.ndarray]:
    return cells((40, size), seed)


def parts(run: Run) -> tuple[Any, Any]:
    """Return the two datasets of a run."""
    (train,), (validate,) = run.datasplit.train, run.datasplit.validate or []
    return train, validate


def test_three_lines(caplog: pytest.LogCaptureFixture) -> None:
    raw, labels = flat(size=90)
    volume, _ = flat(seed=1, size=70)

    with caplog.at_level(logging.INFO, "dacapo"):
        run = dacapo.segment(raw, labels, num_iterations=2)
    model = dacapo.load_model(run)
    segmentation = model.segment(volume)

    assert segmentation.shape == volume.shape
    assert segmentation.dtype.kind == "u"
    assert model.predict(volume).shape == (6, *volume.shape)
    assert run.training_stats.trained_until() == 2
    assert [scores.iteration for scores in run.validation_scores.scores] == [1, 2]
    assert model.iteration in (1, 2)
    assert "training in [0:40, 0:72] (40, 72), validating in [0:40, 72:90] (40, 18)" in caplog.text

    train, validate = parts(run)
    assert train.raw.roi.end[1] == train.gt.roi.end[1] == validate.gt.roi.begin[1] == 72
    config = run.config
    assert isinstance(config.task_config, AffinitiesTaskConfig)
    assert config == create_config_store().retrieve_run_config(run.name)
    assert config.trainer_config.decay_iterations == 2  # type: ignore[attr-defined]
    assert tuple(config.architecture_config.input_shape) == (40, 70)  # type: ignore[attr-defined]
    assert config.verify()[0]


def test_the_same_call_resumes_and_another_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    raw, labels = flat()
    first = dacapo.segment(raw, labels, **SMALL)
    again = dacapo.segment(raw.copy(), labels, **SMALL)
    assert (again.name, again.config) == (first.name, first.config)
    assert again.training_stats.iteration_stats == first.training_stats.iteration_stats
    assert dacapo.segment(raw, labels, **{**SMALL, "num_iterations": 3}, train=False).name != first.name
    assert dacapo.segment(raw + 1, labels, **SMALL, train=False).name != first.name
    # The network of a stored run stays, however much memory is free now.
    decided = dacapo.segment(raw, labels, num_iterations=2, train=False)
    assert decided.training_stats.trained_until() == 0
    less = dacapo.segment(raw, labels, num_iterations=2, train=False, max_memory="1.2MB")
    assert less.config == decided.config
    # In another process the values are unknown, but the model is not.
    monkeypatch.setattr(memory_array, "_values", {})
    assert dacapo.load_model(first.name).predict(raw).shape == (6, *raw.shape)
    with pytest.raises(ArrayNotFoundError, match="give them again"):
        dacapo.train(decided.name)
    assert dacapo.segment(raw, labels, **SMALL).training_stats.trained_until() == 2


def test_everything_can_be_given(tmp_path: Path) -> None:
    raw, labels = flat()
    task = AffinitiesTaskConfig("mine", [Coordinate(1, 0), Coordinate(0, 1)], biases=[0.3])
    other = flat(seed=2)
    run = dacapo.segment(
        raw.astype(np.float32) * 2,
        labels,
        name="mine",
        voxel_size=(40.5, 8),
        offset=(81, 0),
        unit="nm",
        intensities=(0, 400),
        task_config=task,
        validation=other,
        seed=7,
        **SMALL,
    )
    assert run.name == "mine"
    assert run.config.task_config == task
    assert run.config.trainer_config.seed == 7
    train, validate = parts(run)
    assert train.raw.spacing == (40.5, 8)
    assert train.raw.units == ["nm", "nm"]
    assert train.raw.roi.shape == validate.raw.roi.shape
    assert np.array_equal(validate.gt[validate.gt.roi], other[1])
    assert train.raw[train.raw.roi].max() == pytest.approx(float(raw.max()) / 100 - 1)
    dacapo.segment(raw, labels, name="same", **SMALL, train=False)
    with pytest.raises(DuplicateNameError, match=r"num_iterations is 2, not 3"):
        dacapo.segment(raw, labels, name="same", **{**SMALL, "num_iterations": 3}, train=False)
    coarse = dacapo.segment(raw, labels, voxel_size=(30, 10), **SMALL, train=False).config.task_config
    assert max(offset[0] for offset in coarse.neighborhood) == 2  # type: ignore[attr-defined]


def test_masks_and_classes() -> None:
    raw, labels = flat()
    mask = np.ones_like(labels)
    mask[:, :10] = 0
    run = dacapo.segment(raw, (labels % 3).astype(np.int32), mask=mask, classes=["background", "a", "b"], **SMALL)
    assert isinstance(run.config.task_config, OneHotTaskConfig)
    train, validate = parts(run)
    assert train.mask[train.mask.roi][:, 9:11].tolist() == [[0, 1]] * 40
    assert validate.mask is not None
    found = dacapo.load_model(run).segment(raw)
    assert found.shape == raw.shape
    assert set(np.unique(found)) <= {0, 1, 2}
    distance = DistanceTaskConfig("d", channels=["cell"], clip_distance=5, tol_distance=1)
    assert dacapo.segment(raw, labels, task_config=distance, **SMALL, train=False).config.task_config == distance


def test_data_in_files_and_of_xarray(tmp_path: Path) -> None:
    raw, labels = flat()
    for name, values in (("raw", raw), ("labels", labels)):
        write_array(tmp_path / "own.zarr", name, values, Coordinate(8, 8), Coordinate(16, 8))
    path = tmp_path / "own.zarr"
    by_path = dacapo.segment(path / "raw", str(path / "labels"), **SMALL, train=False)
    opened = [zarr.open_array(str(path / name), mode="r") for name in ("raw", "labels")]
    by_zarr = dacapo.segment(*opened, **SMALL, train=False)
    assert by_path.config == by_zarr.config
    assert not any(isinstance(c, MemoryArrayConfig) for c in attrs.asdict(by_path.config, recurse=False).values())
    positions = {"y": 16 + 8.0 * np.arange(40), "x": 8 + 8.0 * np.arange(60)}
    coords = {axis: (axis, values, {"units": "nm"}) for axis, values in positions.items()}
    as_xarray = [xr.DataArray(values, dims=("y", "x"), coords=coords).transpose("x", "y") for values in (raw, labels)]
    by_xarray = dacapo.segment(*as_xarray, **SMALL, train=False)
    for one, other in zip(parts(by_path), parts(by_xarray), strict=True):
        for name in ("raw", "gt"):
            a, b = getattr(one, name), getattr(other, name)
            assert (a.roi, a.voxel_size, a.axes, a.units) == (b.roi, b.voxel_size, b.axes, b.units)
            assert np.array_equal(a[a.roi], b[b.roi])
    split = TrainValidateDataSplitConfig("split", [dataset_config(path, "a")], [dataset_config(path, "b")])
    assert dacapo.segment(split, **SMALL, train=False).config.datasplit_config == split


def test_labels_of_a_part_and_several_channels() -> None:
    raw, labels = flat(size=80)
    coords = {"y": np.arange(40.0), "x": np.arange(80.0)}
    channels = xr.DataArray(np.stack([raw, raw]), dims=("c", "y", "x"), coords=coords)
    whole = xr.DataArray(labels, dims=("y", "x"), coords=coords)
    run = dacapo.segment(
        channels,
        whole[:, 20:],
        **{**SMALL, "architecture_config": unet_config(2, fmaps_in=2)},
        train=False,
        validation=0.25,
    )
    train, validate = parts(run)
    assert train.raw.num_channels == 2
    assert train.raw.roi.shape == Coordinate(40, 65)
    assert train.gt.roi == Roi((0, 20), (40, 45))
    assert validate.gt.roi.begin == Coordinate(0, 65)
    assert np.array_equal(validate.gt[validate.gt.roi], labels[:, 65:])


def test_labels_have_channels_where_a_task_takes_them() -> None:
    raw, labels = flat()
    place = {"axes": ["y", "x"], "voxel_size": (4, 4)}
    classes = BinarizeArrayConfig(
        name="classes",
        source_array_config=MemoryArrayConfig.of(labels, "labels", **place),
        groupings=[("odd", [1, 3]), ("even", [2, 4])],
    )
    task = DistanceTaskConfig(
        name="distances", channels=["odd", "even"], clip_distance=40, tol_distance=4, scale_factor=20
    )
    image = MemoryArrayConfig.of(raw, "raw", **place)
    run = dacapo.segment(image, classes, **{**SMALL, "task_config": task}, train=False)
    assert parts(run)[0].gt.channels == ["odd", "even"]
    with pytest.raises(ConfigError, match="labels must not have one, unless a task_config is given"):
        dacapo.segment(image, classes, **{name: given for name, given in SMALL.items() if name != "task_config"})


def test_what_cannot_be_learned_from_is_an_error() -> None:
    raw, labels = flat()
    for arguments, error, message in (
        ((raw,), ConfigError, "labels are missing"),
        ((raw, labels.astype(np.float32)), DtypeError, "is of type float32; labels must be integers"),
        ((raw, labels[:, :50]), RoiError, r"labels: \(40, 50\) voxels, raw data: \(40, 60\)"),
        ((raw, [[1]]), MetadataError, "got a list; expected an array"),
        ((raw[0], labels[0]), MetadataError, r"shape \(60,\) has no known axes"),
        ((np.zeros_like(raw, np.float32), labels), ConfigError, "is constant"),
    ):
        with pytest.raises(error, match=message):
            dacapo.segment(*arguments, **SMALL)
    with pytest.raises(ConfigError, match=r"validation is 1\.5"):
        dacapo.segment(raw, labels, validation=1.5)
    with pytest.raises(RoiError, match="the mask: "):
        dacapo.segment(raw, labels, mask=labels[:30])
    with pytest.raises(ConfigError, match="validation labels are missing"):
        dacapo.segment(raw, labels, validation=(raw,))
    with pytest.raises(ConfigError, match="beside the data split"):
        dacapo.segment(TrainValidateDataSplitConfig("split", [], []), labels)


def test_the_options_hold_for_all_of_it(options: DaCapoConfig, tmp_path: Path) -> None:
    with dacapo.Options.override(runs_base_dir=tmp_path / "elsewhere"):
        run = dacapo.segment(*flat(), **SMALL)
    assert (tmp_path / "elsewhere" / run.name).is_dir()
    assert not (options.runs_base_dir / run.name).exists()
    assert dacapo.load_model(tmp_path / "elsewhere" / run.name).iteration == 2
