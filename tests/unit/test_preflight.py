"""Each check before training finds the one bad dataset that is made for it, and good data passes without a warning."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.demo.data import synthetic_data, write_tissue
from dacapo.demo.description import describe_run
from dacapo.errors import ConfigError
from dacapo.experiments.check_config import check_config
from dacapo.experiments.datasplits.datasets.arrays import Array, IntensitiesArrayConfig, NumpyArray, ZarrArrayConfig
from dacapo.experiments.preflight import Report, check_data
from dacapo.experiments.preflight.checks import DATA, ESTIMATES
from dacapo.experiments.preflight.look import DatasetLook, Look, look_at
from dacapo.experiments.preflight.preflight import report_of
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.tasks import DistanceTaskConfig, OneHotTaskConfig, TaskConfig
from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.options import DaCapoConfig
from tests.helpers.datasets import ArrayDataset, array
from tests.helpers.runs import affinities_run_config, dummy_run_config, unet_config
from tests.helpers.volumes import write_array

TRAIN = "datasplit_config.train_configs[0]"
VALIDATE = "datasplit_config.validate_configs[0]"
VOXELS, START, SIZE = Coordinate(4, 4), Coordinate(40, 40), (40, 40)
DISTANCES: dict[str, Any] = {"clip_distance": 40.0, "tol_distance": 8.0}
ONE_HOT = OneHotTaskConfig("one_hot", classes=["background", "a", "b"], **DISTANCES)
DISTANCE = DistanceTaskConfig("distance", channels=["a", "b"], scale_factor=20.0, **DISTANCES)

Found = tuple[str, str, str]
Change = Callable[[RunConfig, Path], None]


def run_config(folder: Path, task: TaskConfig | None = None) -> RunConfig:
    trainer = TorchTrainerConfig("trainer", batch_size=1, learning_rate=1e-3, num_data_fetchers=1)
    return affinities_run_config(folder, dims=2, task_config=task, trainer_config=trainer)


def dataset(config: RunConfig, kind: str = "train") -> Any:
    return getattr(config.datasplit_config, f"{kind}_configs")[0]


def leaf(folder: Path, name: str, values: np.ndarray, **place: Any) -> ZarrArrayConfig:
    write_array(folder / f"{name}.zarr", "data", values, **{"voxel_size": VOXELS, "offset": START, **place})
    return ZarrArrayConfig(name, folder / f"{name}.zarr", "data")


def raw(values: np.ndarray, kind: str = "train", scaled: bool = True, **place: Any) -> Change:
    def change(config: RunConfig, folder: Path) -> None:
        source = leaf(folder, "other_raw", values, **place)
        dataset(config, kind).raw_config = IntensitiesArrayConfig("raw", source, 0, 255) if scaled else source

    return change


def labels(values: np.ndarray, *kinds: str, **place: Any) -> Change:
    def change(config: RunConfig, folder: Path) -> None:
        source = leaf(folder, "other_labels", values, **place)
        for kind in kinds or ("train", "validate"):
            dataset(config, kind).gt_config = source

    return change


def mask(values: np.ndarray) -> Change:
    def change(config: RunConfig, folder: Path) -> None:
        dataset(config).mask_config = leaf(folder, "mask", values)

    return change


def both(*changes: Change) -> Change:
    def change(config: RunConfig, folder: Path) -> None:
        for each in changes:
            each(config, folder)

    return change


def file_of_chunk(config: RunConfig) -> Path:
    source = dataset(config).raw_config.source_array_config
    return Path(source.file_name) / source.dataset / "0/0"


def remove_chunk(config: RunConfig, folder: Path) -> None:
    file_of_chunk(config).unlink()


def cut_chunk(config: RunConfig, folder: Path) -> None:
    file = file_of_chunk(config)
    file.write_bytes(file.read_bytes()[:40])


def forget_the_unit(config: RunConfig, folder: Path) -> None:
    source = dataset(config).gt_config
    file = Path(source.file_name) / source.dataset / ".zattrs"
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != "units"}))


def blocks(*ids: int) -> np.ndarray:
    """Return labels in equal stripes."""
    return np.repeat(np.array(ids, np.uint32), -(-SIZE[0] // len(ids)))[: SIZE[0], None] * np.ones(SIZE, np.uint32)


def noise(dtype: Any = np.uint8, size: tuple[int, ...] = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, size).astype(dtype)


def with_nan() -> np.ndarray:
    values = noise(np.float32)
    values[3, 4] = np.nan
    return values


def one_voxel() -> np.ndarray:
    values = np.zeros(SIZE, np.uint32)
    values[20, 20] = 7
    return values


CASES: dict[str, tuple[TaskConfig | None, Change, Found]] = {
    "damaged chunk": (None, cut_chunk, ("error", "unreadable", f"{TRAIN}.raw_config")),
    "NaN": (None, raw(with_nan()), ("error", "NaN", f"{TRAIN}.raw_config")),
    "constant raw": (None, raw(np.full(SIZE, 9, np.uint8)), ("warning", "constant", f"{TRAIN}.raw_config")),
    "missing chunk": (None, remove_chunk, ("warning", "missing chunks", f"{TRAIN}.raw_config")),
    "bytes as they are": (None, raw(noise(), scaled=False), ("warning", "unscaled", f"{TRAIN}.raw_config")),
    "empty mask": (None, mask(np.zeros(SIZE, np.uint8)), ("error", "not annotated", f"{TRAIN}.mask_config")),
    "background": (None, labels(blocks(0), "validate"), ("warning", "one label", f"{VALIDATE}.gt_config")),
    "background in all": (None, labels(blocks(0), "train"), ("error", "one label", f"{TRAIN}.gt_config")),
    "a single voxel": (None, labels(one_voxel()), ("warning", "sparse", f"{TRAIN}.sample_points")),
    "instances as classes": (
        ONE_HOT,
        labels(blocks(0, 1, 17, 23, 99)),
        ("error", "ids beyond classes", f"{TRAIN}.gt_config"),
    ),
    "an id to ignore": (
        ONE_HOT,
        labels(blocks(0, 0, 1, 2, 2, 255)),
        ("warning", "ids beyond classes", f"{TRAIN}.gt_config"),
    ),
    "class without a voxel": (ONE_HOT, labels(blocks(0, 1)), ("warning", "class without truth", "task_config")),
    "empty channel": (
        DISTANCE,
        labels(np.stack([blocks(0, 1), blocks(0)])),
        ("warning", "class without truth", "task_config"),
    ),
    "one id for all": (None, labels(blocks(0, 5, 0, 5)), ("warning", "one object", f"{TRAIN}.gt_config")),
    "labels beyond raw": (
        None,
        labels(blocks(0, 1, 2), offset=Coordinate(120, 40)),
        ("warning", "coverage", f"{TRAIN}.raw_config"),
    ),
    "labels at the edge": (
        None,
        labels(blocks(0, 1, 2)[:, :2], "train"),
        ("warning", "context", f"{TRAIN}.raw_config"),
    ),
    "other voxel size": (
        None,
        both(
            raw(noise(), "validate", voxel_size=Coordinate(8, 8)),
            labels(blocks(0, 1, 2), "validate", voxel_size=Coordinate(8, 8)),
        ),
        ("warning", "voxel size", f"{VALIDATE}.raw_config"),
    ),
    "no unit": (None, forget_the_unit, ("warning", "units", f"{TRAIN}.gt_config")),
}


def found(report: Report) -> list[Found]:
    return [(finding.level, finding.check, finding.field) for finding in report.findings]


@pytest.mark.parametrize("case", CASES)
def test_bad_data_is_noticed(case: str, options: DaCapoConfig, tmp_path: Path) -> None:
    task, change, expected = CASES[case]
    config = run_config(tmp_path / "data", task)
    if task is not None:
        labels(blocks(0, 1, 2) if task is ONE_HOT else np.stack([blocks(0, 1)] * 2), "train", "validate")(
            config, tmp_path / "good"
        )
    assert expected not in found(check_data(Run(config)))
    change(config, tmp_path / "bad")
    assert expected in found(check_data(Run(config)))


def test_good_data_passes(options: DaCapoConfig, tmp_path: Path) -> None:
    report = Run(run_config(tmp_path)).check()
    assert not report.warnings + report.errors
    assert {"memory", "time"} <= {finding.check for finding in report.findings}
    assert all(sampled.voxels == sampled.of == 1600 for sampled in report.sampled)


def test_the_demo_passes(options: DaCapoConfig, tmp_path: Path) -> None:
    shapes = dict.fromkeys(("train", "validate", "unseen"), (48, 64, 64))
    write_tissue(tmp_path, shapes)
    report = check_data(Run(describe_run(synthetic_data(tmp_path, shapes), 100)))
    assert not report.warnings + report.errors, str(report)


def test_class_that_only_one_dataset_lacks_is_a_note(options: DaCapoConfig, tmp_path: Path) -> None:
    config = run_config(tmp_path / "data", ONE_HOT)
    labels(blocks(0, 1, 2))(config, tmp_path / "three")
    train = config.datasplit_config.train_configs
    train.append(attrs.evolve(train[0], name="more", gt_config=leaf(tmp_path, "two", blocks(0, 1))))
    expected = ("note", "class without truth", "datasplit_config.train_configs[1].gt_config")
    report = check_data(Run(config))
    assert expected in found(report)
    assert not report.warnings


def test_network_of_other_dimensions_is_an_error_that_names_both(options: DaCapoConfig, tmp_path: Path) -> None:
    config = attrs.evolve(run_config(tmp_path), architecture_config=unet_config(3), task_config=ONE_HOT)
    report = check_config(config)
    fits = [finding for finding in report.errors if finding.check == "fit"]
    assert {finding.field for finding in fits} == {f"{VALIDATE}.raw_config", "datasplit_config.train_configs"}
    assert all("3D" in finding.message for finding in fits)


def test_channels_that_do_not_fit_are_an_error(options: DaCapoConfig, tmp_path: Path) -> None:
    config = run_config(tmp_path / "data")
    raw(np.stack([noise(), noise()]))(config, tmp_path)
    assert ("error", "fit", "datasplit_config.train_configs") in found(Run(config).check())


def test_datasets_and_datasplits_can_be_checked_alone(options: DaCapoConfig, tmp_path: Path) -> None:
    config = run_config(tmp_path / "data")
    raw(with_nan())(config, tmp_path)
    assert ("error", "NaN", "train_configs[0].raw_config") in found(check_config(config.datasplit_config))
    assert ("error", "NaN", "raw_config") in found(check_config(dataset(config)))
    with pytest.raises(ConfigError, match="got a TorchTrainerConfig; expected the config of a run"):
        check_config(config.trainer_config)


def test_invalid_configs_are_findings(options: DaCapoConfig, tmp_path: Path) -> None:
    config = attrs.evolve(run_config(tmp_path), num_iterations=0)
    dataset(config).gt_config = ZarrArrayConfig("gone", tmp_path / "gone.zarr", "labels")
    fields = [(finding.check, finding.field) for finding in check_config(config).errors]
    assert fields == [("config", f"{TRAIN}.gt_config.file_name"), ("config", "num_iterations")]


def test_dummies_have_no_data_to_look_at(options: DaCapoConfig) -> None:
    report = Run(dummy_run_config()).check()
    assert not report.sampled
    assert not report.errors


class EndlessArray(NumpyArray):
    """A volume of 10^15 voxels, made up where it is read; a read may take its time."""

    def __init__(self, seconds: float = 0.0) -> None:
        one = NumpyArray.from_np_array(
            np.zeros((1, 1, 1), np.uint8), Roi((0, 0, 0), (8, 8, 8)), Coordinate(8, 8, 8), "zyx"
        )
        vars(self).update(vars(one))
        self.seconds = seconds
        self.reads: list[Roi] = []

    @property
    def roi(self) -> Roi:
        return Roi((0, 0, 0), (800_000, 800_000, 800_000))

    def __getitem__(self, roi: Roi) -> np.ndarray:
        self.reads.append(roi)
        time.sleep(self.seconds)
        return np.random.default_rng(len(self.reads)).integers(0, 255, roi.shape / self.voxel_size).astype(np.uint8)


def look(raw: Array, gt: Array, seconds: float = 5.0, **attributes: Any) -> DatasetLook:
    return look_at(DatasetLook("train", ArrayDataset(raw, gt, **attributes), ""), None, seconds)


def test_the_sample_is_bounded_and_repeats_itself() -> None:
    first, second = (EndlessArray() for _ in range(2))
    part = look(first, EndlessArray())
    assert not part.raw.whole
    assert part.raw.of == 10**15
    assert 10**5 < part.raw.voxels < 10**7
    look(second, EndlessArray())
    assert first.reads == second.reads


def test_reading_stops_when_time_is_over() -> None:
    slow = EndlessArray(seconds=0.02)
    part = look(slow, EndlessArray(seconds=0.02), seconds=0.1)
    assert part.labels is not None
    assert part.labels.voxels > 0
    assert 0 < len(slow.reads) < 24


def test_a_slow_store_does_not_delay_the_training_for_long() -> None:
    parts = [
        DatasetLook("train", ArrayDataset(EndlessArray(0.1), EndlessArray(0.1)), f"train_configs[{number}]")
        for number in range(5)
    ]
    parts[0].dataset.gt = array(np.zeros((8, 8, 8), np.uint8), (0, 0, 0), (8, 8, 8))
    report = report_of(Look(parts), DATA, 0.1, time.monotonic())
    assert not report.errors  # the other datasets may have labels
    assert [finding.check for finding in report.findings if finding.level == "note"] == ["not sampled"]
    assert report.seconds < 3


def test_patches_lie_around_the_sample_points() -> None:
    gt, point = EndlessArray(), Coordinate(400_000, 80_000, 8_000)
    look(EndlessArray(), gt, sample_points=[point])
    assert len(gt.reads) == 1
    assert gt.reads[0].contains(point)


def test_voxels_that_are_not_annotated_are_not_counted() -> None:
    values = np.zeros((8, 8), np.uint8)
    values[:4] = 3
    values[6:] = 200
    annotated = (values < 200).astype(np.uint8)
    part = look(array(values), array(values), mask=array(annotated))
    assert part.labels is not None
    assert dict(part.labels.counts[0]) == {0: 16, 3: 32}
    assert part.labels.annotated == 48


def test_the_table_of_checks_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "concepts" / "preflight.md").read_text()
    assert [check.finds for check in (*DATA, *ESTIMATES) if check.finds.rstrip(".") not in page] == []


def test_report_reads_as_a_table_and_as_plain_values(options: DaCapoConfig, tmp_path: Path) -> None:
    config = run_config(tmp_path / "data")
    raw(with_nan())(config, tmp_path)
    report = Run(config).check()
    lines = str(report).splitlines()
    assert lines[0].split() == ["level", "check", "field", "finding"]
    assert lines[1].startswith("error  NaN")
    assert "1 errors, 0 warnings; read 6,400 of 6,400 voxels" in lines[-1]
    plain = json.loads(json.dumps(report.as_plain()))
    assert plain["ok"] is False
    assert plain["findings"][0]["field"] == f"{TRAIN}.raw_config"
    with pytest.raises(ConfigError, match=r"^datasplit_config\.train_configs\[0\]\.raw_config: training dataset"):
        report.raise_errors()
