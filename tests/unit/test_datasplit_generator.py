"""Datasplits from tables, on containers that the zarr package wrote."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ArrayNotFoundError, ConfigError, DacapoError, NotFoundError, RoiError
from dacapo.experiments.datasplits import DataSplitConfig, DataSplitGenerator
from dacapo.experiments.datasplits.datasets import RawGTDataset, RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import (
    IntensitiesArrayConfig,
    MergeInstancesArrayConfig,
    ResampledArrayConfig,
    ZarrArrayConfig,
)
from dacapo.experiments.datasplits.datasplit_generator import (
    DatasetSpec,
    DatasetType,
    SegmentationType,
    generate_dataspec_from_csv,
)
from dacapo.store.converter import from_plain, to_plain
from dacapo.store.file_config_store import FileConfigStore
from dacapo.utils.names import check_name

RNG = np.random.default_rng(0)
AXES = ["z", "y", "x"]


def write(
    path: Path, dataset: str, values: np.ndarray, voxel_size: Any = None, offset: Any = None, **more: Any
) -> None:
    array = zarr.open_group(str(path)).create_dataset(dataset, data=values, chunks=(16,) * values.ndim)
    if voxel_size is not None:
        dims = values.ndim
        array.attrs.update(
            {"axes": AXES[-dims:], "resolution": list(voxel_size), "offset": list(offset or (0,) * dims)}
        )
    array.attrs.update(more)


def shrink(values: np.ndarray, factor: int) -> np.ndarray:
    """Take every so manieth voxel, which a test can tell from every other way to make a level."""
    return values[(slice(None, None, factor),) * values.ndim]


def write_levels(path: Path, group: str, values: np.ndarray, voxel_size: int, offset: int = 0, levels: int = 3) -> None:
    for level in range(levels):
        factor = 2**level
        size = (voxel_size * factor,) * values.ndim
        write(path, f"{group}/s{level}", shrink(values, factor), size, (offset,) * values.ndim)


def write_ome(
    path: Path, group: str, values: np.ndarray, voxel_size: float, offset: float = 0, centered: bool = True
) -> None:
    """Write levels named otherwise than s0, s1, as OME-NGFF in micrometers; translations are those of centers."""
    datasets = []
    for level in range(3):
        factor = 2**level
        write(path, f"{group}/scale{level}", shrink(values, factor))
        shift = offset + (voxel_size * (factor - 1) / 2 if centered else 0)
        transforms = [
            {"type": "scale", "scale": [voxel_size * factor / 1000] * 3},
            {"type": "translation", "translation": [shift / 1000] * 3},
        ]
        datasets.append({"path": f"scale{level}", "coordinateTransformations": transforms})
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in AXES]
    zarr.open_group(str(path))[group].attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]


@pytest.fixture
def labels() -> np.ndarray:
    return np.kron(RNG.integers(0, 4, (6, 6, 6)), np.ones((8, 8, 8), int)).astype(np.uint16)


@pytest.fixture
def raw(labels: np.ndarray) -> np.ndarray:
    return RNG.integers(0, 256, labels.shape).astype(np.uint8)


@pytest.fixture
def volume(tmp_path: Path, raw: np.ndarray, labels: np.ndarray) -> Path:
    """A container with raw data and two classes, all in three levels from voxels of 4 on."""
    path = tmp_path / "cell.zarr"
    write_levels(path, "em", raw, 4)
    write_levels(path, "labels/mito", labels, 4)
    write_levels(path, "labels/er", labels // 2, 4)
    return path


def spec(path: Path, gt: str = "labels/[mito&er]", kind: str = "train", raw: str = "em") -> DatasetSpec:
    return DatasetSpec(kind, path, raw, path, gt)


def generator(*specs: DatasetSpec, size: int = 8, out: int | None = None, **more: Any) -> DataSplitGenerator:
    more.setdefault("min_training_volume_size", 0)
    return DataSplitGenerator("split", list(specs), (size,) * 3, (out or size,) * 3, **more)


def built(config: DataSplitConfig, part: str = "train", index: int = 0) -> RawGTDataset:
    dataset: RawGTDataset = getattr(config.datasplit_type(config), part)[index]
    return dataset


def stored(config: Any) -> ZarrArrayConfig:
    """Return the config of the array on disk below a config."""
    while not isinstance(config, ZarrArrayConfig):
        config = config.source_array_config
    return config


def values(dataset: RawGTDataset) -> tuple[np.ndarray, np.ndarray]:
    assert dataset.gt is not None
    return dataset.raw[dataset.raw.roi], dataset.gt[dataset.gt.roi]


class TestSemantic:
    def test_classes_become_channels_of_the_level_of_the_resolution(
        self, volume: Path, raw: np.ndarray, labels: np.ndarray
    ) -> None:
        config = generator(spec(volume)).compute()
        (dataset,) = config.train_configs
        assert isinstance(dataset.raw_config, IntensitiesArrayConfig)
        assert stored(dataset.raw_config).dataset == "em/s1"
        dataset = built(config)
        got_raw, got_gt = values(dataset)
        np.testing.assert_allclose(got_raw, shrink(raw, 2) / 255, rtol=1e-6)
        assert dataset.gt.channels == ["mito", "er"]
        coarse = shrink(labels, 2)
        np.testing.assert_array_equal(got_gt, np.stack([coarse > 0, coarse // 2 > 0]))
        assert dataset.gt.voxel_size == dataset.raw.voxel_size == Coordinate(8, 8, 8)
        assert dataset.mask is None

    def test_input_and_output_resolution_differ(self, volume: Path) -> None:
        dataset = built(generator(spec(volume), size=4, out=16).compute())
        assert dataset.raw.voxel_size == Coordinate(4, 4, 4)
        assert dataset.gt.voxel_size == Coordinate(16, 16, 16)

    def test_raw_range(self, volume: Path, raw: np.ndarray) -> None:
        dataset = built(generator(spec(volume), size=4, raw_min=10, raw_max=20).compute())
        np.testing.assert_allclose(values(dataset)[0], (raw.astype(float) - 10) / 10, rtol=1e-6)

    def test_targets_choose_and_order(self, volume: Path, labels: np.ndarray) -> None:
        made = generator(spec(volume), targets=["er", "mito"], size=4)
        dataset = built(made.compute())
        assert dataset.gt.channels == made.class_name == ["er", "mito"]
        np.testing.assert_array_equal(values(dataset)[1], np.stack([labels // 2 > 0, labels > 0]))
        only = built(generator(spec(volume), targets=["er"], size=4).compute())
        assert only.gt.channels == ["er"]
        np.testing.assert_array_equal(values(only)[1], [labels // 2 > 0])
        with pytest.raises(ConfigError, match=r"mito, er, but not the targets golgi"):
            generator(spec(volume), targets=["er", "golgi"]).compute()

    @pytest.mark.parametrize(
        ("gt", "classes", "datasets"),
        [
            ("labels/mito", ["mito"], ["labels/mito"]),
            ("labels/mito/s0", ["mito"], ["labels/mito/s0"]),
            ("labels/[mito]", ["mito"], ["labels/mito"]),
            ("labels/[er & mito]", ["er", "mito"], ["labels/er", "labels/mito"]),
            ("labels/[mito&er]/s0", ["mito", "er"], ["labels/mito/s0", "labels/er/s0"]),
            ("labels/er&labels/mito/s0", ["er", "mito"], ["labels/er", "labels/mito/s0"]),
        ],
    )
    def test_what_a_gt_dataset_names(self, volume: Path, gt: str, classes: list[str], datasets: list[str]) -> None:
        made = generator(spec(volume, gt), size=4)
        assert made.class_name is None
        assert made.check_class_name(gt) == (datasets, classes)
        dataset = built(made.compute())
        assert made.class_name == dataset.gt.channels == classes

    def test_another_separator(self, volume: Path) -> None:
        made = generator(spec(volume, "labels/[mito;er]"), classes_separator_caracter=";")
        assert built(made.compute()).gt.channels == ["mito", "er"]

    @pytest.mark.parametrize(
        ("gt", "message"),
        [
            ("labels/[mito&er", "one pair of brackets"),
            ("labels/mito]", "one pair of brackets"),
            ("labels/[a]/[b]", "one pair of brackets"),
            ("labels/[[a&b]&c]", "one pair of brackets"),
            ("labels/[mito&]", "has no name"),
            ("labels/[]", "has no name"),
            ("labels/[mito&mito]", "twice"),
            ("a/mito&b/mito", "twice"),
        ],
    )
    def test_what_is_no_gt_dataset(self, volume: Path, gt: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            generator(spec(volume, gt)).compute()

    @pytest.mark.parametrize("other", ["labels/[er&mito]", "labels/er", "labels/[mito]"])
    def test_rows_must_name_the_same_classes(self, volume: Path, other: str) -> None:
        with pytest.raises(ConfigError, match="an earlier row mito, er"):
            generator(spec(volume), spec(volume, other)).compute()

    def test_rows_may_name_more_than_the_targets(self, volume: Path) -> None:
        split = generator(spec(volume), spec(volume, "labels/er"), targets=["er"]).compute()
        assert [built(split, index=i).gt.channels for i in range(2)] == [["er"], ["er"]]


class TestVolumeOfIds:
    """A single volume whose attribute names its ids."""

    def entry(self, name: str, value: int, **state: bool) -> dict[str, Any]:
        return {"name": name, "value": value, **({"annotationState": state} if state else {})}

    def test_names_are_looked_up(self, volume: Path, labels: np.ndarray) -> None:
        entries = [self.entry("mito", 1), self.entry("er", 2), self.entry("er", 3)]
        write(volume, "all", labels, (4, 4, 4), labels=entries)
        dataset = built(generator(spec(volume, "all/[er&mito]"), size=4).compute())
        assert dataset.gt.channels == ["er", "mito"]
        np.testing.assert_array_equal(values(dataset)[1], np.stack([labels >= 2, labels == 1]))
        assert dataset.mask is None

    def test_states_become_a_mask(self, volume: Path, labels: np.ndarray) -> None:
        entries = [
            self.entry("mito", 1, present=True, annotated=True),
            self.entry("er", 2, present=True, annotated=False),
        ]
        write(volume, "all", labels, (4, 4, 4), labels=entries)
        dataset = built(generator(spec(volume, "all/[mito&er]"), size=8).compute())
        coarse = values(dataset)[1]
        assert dataset.mask.voxel_size == dataset.gt.voxel_size == Coordinate(8, 8, 8)
        mask = dataset.mask[dataset.mask.roi]
        assert not mask[1].any()
        assert mask[0][coarse[0] > 0].all()
        assert 0 < mask[0].mean() < 1

    def test_unknown_names(self, volume: Path, labels: np.ndarray) -> None:
        write(volume, "all", labels, (4, 4, 4), labels=[self.entry("mito", 1)])
        with pytest.raises(ConfigError, match=r"dataset all/er does not exist.*'labels'; it names mito"):
            generator(spec(volume, "all/[mito&er]")).compute()

    def test_a_class_without_dataset_names_what_is_there(self, volume: Path) -> None:
        for gt in ("labels/[mito&golgi]", "labels/[golgi]", "[golgi]"):
            with pytest.raises(ArrayNotFoundError, match=r"train dataset .*golgi.*does not exist.*labels/mito/s0"):
                generator(spec(volume, gt)).compute()


class TestInstance:
    def test_labels_are_taken_as_they_are(self, volume: Path, labels: np.ndarray) -> None:
        made = generator(spec(volume, "labels/mito"), size=4, segmentation_type="instance")
        dataset = built(made.compute())
        assert "c" not in dataset.gt.axes
        np.testing.assert_array_equal(values(dataset)[1], labels)

    def test_labels_are_never_interpolated(self, volume: Path, labels: np.ndarray) -> None:
        write(volume, "ids", labels * 1000, (4, 4, 4))
        for out in (2, 8, 12):
            made = generator(spec(volume, "ids"), size=4, out=out, segmentation_type=SegmentationType.instance)
            dataset = built(made.compute())
            assert dataset.gt.voxel_size == Coordinate((out,) * 3)
            assert set(np.unique(values(dataset)[1])) == {0, 1000, 2000, 3000}

    def test_several_are_merged(self, volume: Path, labels: np.ndarray) -> None:
        made = generator(spec(volume), size=4, segmentation_type="instance", targets=["er", "mito"])
        config = made.compute()
        assert isinstance(config.train_configs[0].gt_config, MergeInstancesArrayConfig)
        er, merged = labels // 2, values(built(config))[1]
        np.testing.assert_array_equal(merged, np.where(er > 0, er, np.where(labels > 0, labels + er.max(), 0)))

    def test_rows_may_have_other_names(self, volume: Path) -> None:
        config = generator(
            spec(volume, "labels/mito"), spec(volume, "labels/er"), segmentation_type="instance"
        ).compute()
        assert len(config.train_configs) == 2


class TestLevels:
    def test_raw_is_interpolated_to_the_resolution(self, tmp_path: Path) -> None:
        path = tmp_path / "ramp.zarr"
        ramp = np.broadcast_to(np.arange(48, dtype=np.uint8) * 4, (48, 48, 48))
        write(path, "em", ramp, (4, 4, 4))
        write(path, "ids", (ramp > 0).astype(np.uint8), (4, 4, 4))
        config = generator(spec(path, "ids"), size=8).compute()
        assert isinstance(config.train_configs[0].raw_config.source_array_config, ResampledArrayConfig)
        got = values(built(config))[0]
        # A voxel of 8 lies over two of 4, whose mean it is; blurring changes nothing in a ramp but at its ends.
        expected = (np.arange(24) * 8 + 2) / 255
        np.testing.assert_allclose(got[12, 12, 2:-2], expected[2:-2], atol=1 / 255)

    @pytest.mark.parametrize(
        ("size", "level"),
        [(4, "s0"), (5, "s0"), (7, "s1"), (8, "s1"), (11, "s1"), (12, "s2"), (16, "s2"), (64, "s2"), (2, "s0")],
    )
    def test_the_closest_level_is_read(self, volume: Path, size: int, level: str) -> None:
        config = generator(spec(volume), size=size).compute()
        assert stored(config.train_configs[0].raw_config).dataset == f"em/{level}"
        dataset = built(config)
        assert dataset.raw.voxel_size == dataset.gt.voxel_size == Coordinate((size,) * 3)
        values(dataset)

    @pytest.mark.parametrize(
        ("kind", "size", "limits"),
        [
            ("train", 1, {}),
            ("train", 512, {}),
            ("val", 256, {}),
            ("train", 32, {"max_raw_training_downsample": 1}),
            ("train", 2, {"max_raw_training_upsample": 1}),
            ("val", 2, {"max_raw_validation_upsample": 1}),
            ("val", 32, {"max_raw_validation_downsample": 1}),
            ("train", 32, {"max_gt_downsample": 1}),
            ("train", 2, {"max_gt_upsample": 1}),
        ],
    )
    def test_limits(self, volume: Path, kind: str, size: int, limits: dict[str, int]) -> None:
        what = "labels/mito" if any("gt" in name for name in limits) else "em"
        with pytest.raises(ConfigError, match=rf"{kind} dataset.*resolution .*{size}.*{what}/s0 with \(4, 4, 4\), "):
            generator(spec(volume, kind=kind), size=size, **limits).compute()

    def test_limits_are_for_each_axis_and_of_the_level(self, volume: Path) -> None:
        made = generator(spec(volume), size=4, max_raw_training_downsample=2, max_gt_downsample=2)
        made.input_resolution = made.output_resolution = Coordinate(8, 32, 8)
        config = made.compute()
        assert stored(config.train_configs[0].raw_config).dataset == "em/s2"
        made.input_resolution = Coordinate(8, 64, 8)
        with pytest.raises(ConfigError, match="2 times larger"):
            made.compute()

    @pytest.mark.parametrize("centered", [True, False])
    def test_ome(self, tmp_path: Path, raw: np.ndarray, labels: np.ndarray, centered: bool) -> None:
        """All levels begin at the same corner, whether their translations are of corners or of centers."""
        path = tmp_path / "ome.zarr"
        write_ome(path, "em", raw, 4, 16, centered)
        write_ome(path, "labels/mito", labels, 4, 16, centered)
        for size in (4, 8, 16):
            config = generator(spec(path, "labels/mito"), size=size).compute()
            level = {4: 0, 8: 1, 16: 2}[size]
            assert stored(config.train_configs[0].gt_config).dataset == f"labels/mito/scale{level}"
            dataset = built(config)
            assert dataset.raw.roi == dataset.gt.roi == Roi((16,) * 3, (4 * 48,) * 3)
            np.testing.assert_array_equal(values(dataset)[1][0], shrink(labels, 2**level) > 0)

    def test_raw_and_labels_in_containers_and_levels_of_their_own(
        self, tmp_path: Path, raw: np.ndarray, labels: np.ndarray
    ) -> None:
        """Labels of a part of the volume, with finer voxels; translations of centers put them beside the grid."""
        write_ome(tmp_path / "em.zarr", "em", raw, 8, 0)
        fine = np.kron(labels[:24, :24, :24], np.ones((2, 2, 2), np.uint16))[:40, :40, :40]
        write_ome(tmp_path / "crop.zarr", "mito", fine, 2, 64 - 3)
        row = DatasetSpec("train", tmp_path / "em.zarr", "em", tmp_path / "crop.zarr", "mito")
        dataset = built(generator(row).compute())
        assert dataset.raw.roi.begin == Coordinate(0, 0, 0)
        assert dataset.gt.roi.begin == Coordinate(64, 64, 64)
        # Moved by a part of a voxel, the last one reaches beyond the volume.
        np.testing.assert_array_equal(values(dataset)[1][0], shrink(fine, 4)[:-1, :-1, :-1] > 0)

    def test_a_level_far_beside_the_grid_gives_way_to_a_finer_one(self, tmp_path: Path) -> None:
        path = tmp_path / "shifted.zarr"
        write(path, "em", np.zeros((48, 48, 48), np.uint8), (8, 8, 8))
        x = np.zeros((64, 64, 64), np.uint16) + np.arange(1, 65, dtype=np.uint16)
        write_levels(path, "ids", x, 2, 66)
        config = generator(spec(path, "ids"), segmentation_type="instance").compute()
        assert stored(config.train_configs[0].gt_config).dataset == "ids/s1"
        dataset = built(config)
        assert dataset.gt.roi.begin == Coordinate(72, 72, 72)
        # The center of the first voxel is at 76, in the voxel of 4 from 74 on, the third of s1, the fifth of s0.
        assert values(dataset)[1][0, 0, 0] == 5

    def test_a_single_level_beside_the_grid_is_moved(self, tmp_path: Path) -> None:
        path = tmp_path / "shifted.zarr"
        write(path, "em", np.zeros((48, 48, 48), np.uint8), (8, 8, 8))
        write(path, "ids", np.ones((20, 20, 20), np.uint8), (8, 8, 8), (62, 66, 64))
        dataset = built(generator(spec(path, "ids")).compute())
        assert dataset.gt.roi.begin == Coordinate(64, 72, 64)

    @pytest.mark.filterwarnings("ignore:The N5Store is deprecated:FutureWarning")
    def test_n5(self, tmp_path: Path, raw: np.ndarray, labels: np.ndarray) -> None:
        group = zarr.group(store=zarr.N5Store(str(tmp_path / "cell.n5")))
        for name, data in (("em", raw), ("mito", labels)):
            for level in range(2):
                array = group.create_dataset(f"{name}/s{level}", data=shrink(data, 2**level), chunks=(16, 16, 16))
                array.attrs.update({"axes": AXES[::-1], "resolution": [4 * 2**level] * 3, "offset": [0, 0, 0]})
        config = generator(spec(tmp_path / "cell.n5", "mito")).compute()
        assert stored(config.train_configs[0].raw_config).dataset == "em/s1"
        np.testing.assert_array_equal(values(built(config))[1][0], shrink(labels, 2) > 0)

    def test_2d(self, tmp_path: Path, raw: np.ndarray, labels: np.ndarray) -> None:
        path = tmp_path / "flat.zarr"
        write_levels(path, "em", raw[0], 4)
        write_levels(path, "labels/mito", labels[0], 4)
        made = DataSplitGenerator("split", [spec(path, "labels/mito")], (8, 8), (8, 8), min_training_volume_size=0)
        np.testing.assert_array_equal(values(built(made.compute()))[1], [shrink(labels[0], 2) > 0])
        with pytest.raises(ConfigError, match=r"2 spatial axes, but the resolution \(8, 8, 8\) is for 3"):
            generator(spec(path, "labels/mito")).compute()

    def test_a_group_without_levels_lists_what_is_there(self, volume: Path) -> None:
        with pytest.raises(ArrayNotFoundError, match=r"'labels' is a group, not an array.*labels/er/s0"):
            generator(spec(volume, raw="labels")).compute()

    def test_volumes_that_do_not_overlap(self, volume: Path, labels: np.ndarray) -> None:
        write(volume, "far", labels, (4, 4, 4), (4000, 4000, 4000))
        with pytest.raises((ConfigError, RoiError), match="do not overlap"):
            generator(spec(volume, "far")).compute()


class TestSplit:
    def test_rows_go_to_their_part(self, volume: Path) -> None:
        kinds = ["val", "train", "val"]
        config = generator(*(spec(volume, kind=kind) for kind in kinds)).compute()
        assert (len(config.train_configs), len(config.validate_configs)) == (1, 2)
        split = config.datasplit_type(config)
        names = [dataset.name for dataset in (*split.train, *split.validate)]
        assert len(set(names)) == 3
        assert [check_name(name) for name in names] == names

    def test_long_names_stay_names(self, volume: Path, labels: np.ndarray) -> None:
        deep = "/".join(["a" * 60] * 4)
        write(volume, deep, labels, (4, 4, 4))
        config = generator(spec(volume, deep), spec(volume, deep), size=4).compute()
        names = [dataset.name for dataset in config.train_configs]
        assert len({check_name(name) for name in names}) == 2

    def test_small_volumes_are_left_out_of_training(self, volume: Path, caplog: pytest.LogCaptureFixture) -> None:
        write(volume, "small", np.ones((20, 20, 20), np.uint8), (4, 4, 4))
        rows = [
            spec(volume, "small", kind) if size else DatasetSpec(kind, volume, "em", volume, "labels/er")
            for kind, size in (("train", 1), ("train", 0), ("val", 1))
        ]
        made = DataSplitGenerator("split", rows, (4,) * 3, (4,) * 3, segmentation_type="instance")
        assert len(made.compute().train_configs) == 2
        made.min_training_volume_size = 8001
        with caplog.at_level(logging.WARNING):
            config = made.compute()
        assert (len(config.train_configs), len(config.validate_configs)) == (1, 1)
        assert "small: it has 8000 labeled voxels, fewer than 8001" in caplog.text
        made.min_training_volume_size = 10**6
        with pytest.raises(ConfigError, match="all training datasets have fewer than 1000000"):
            made.compute()

    def test_round_trip(self, volume: Path, labels: np.ndarray, tmp_path: Path) -> None:
        state = {"present": True, "annotated": True}
        entries = [{"name": name, "value": value, "annotationState": state} for name, value in (("mito", 1), ("er", 2))]
        write(volume, "all", labels, (4, 4, 4), labels=entries)
        config = generator(
            spec(volume), spec(volume, "all/[mito&er]"), spec(volume, kind="val"), size=6, out=12
        ).compute()
        assert from_plain(to_plain(config), DataSplitConfig) == config
        store = FileConfigStore(tmp_path / "configs")
        store.store_datasplit_config(config)
        assert store.retrieve_datasplit_config("split") == config
        assert config.verify()[0]

    def test_files_are_only_read(self, volume: Path) -> None:
        config = generator(spec(volume)).compute()
        assert stored(config.train_configs[0].raw_config).mode == "r"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"datasets": []}, "no datasets"),
            ({"input_resolution": (8, 0, 8)}, r"input_resolution is \(8, 0, 8\)"),
            ({"output_resolution": (8, -8, 8)}, "output_resolution"),
            ({"targets": []}, "targets"),
            ({"targets": ["a", "a"]}, "targets"),
            ({"segmentation_type": "panoptic"}, "SegmentationType 'panoptic'; expected one of semantic, instance"),
            ({"classes_separator_caracter": ""}, "classes_separator"),
            ({"classes_separator_caracter": "/"}, "classes_separator"),
        ],
    )
    def test_values_that_make_no_sense(self, volume: Path, change: dict[str, Any], message: str) -> None:
        settings = {
            "name": "s",
            "datasets": [spec(volume)],
            "input_resolution": (8,) * 3,
            "output_resolution": (8,) * 3,
        }
        with pytest.raises(ConfigError, match=message):
            DataSplitGenerator(**{**settings, **change})


class TestTable:
    HEADER = "dataset_type,raw_container,raw_dataset,gt_container,gt_dataset\n"

    def test_with_and_without_header(self, tmp_path: Path) -> None:
        rows = "train,a.zarr,em,b.zarr,labels/[x&y]\nval,c.zarr,em/s0,d.zarr,labels/x\n"
        path = tmp_path / "table.csv"
        texts = [
            rows,
            self.HEADER + rows,
            "\ufeff" + self.HEADER.upper() + "\n# a remark, with a comma\n" + rows.replace(",", " , "),
            "gt_dataset,gt_container,raw_dataset,raw_container,dataset_type\n"
            '"labels/[x&y]",b.zarr,em,a.zarr,TRAIN\nlabels/x,d.zarr,em/s0,c.zarr,val\n',
        ]
        for text in texts:
            path.write_text(text, encoding="utf-8")
            first, second = generate_dataspec_from_csv(path)
            assert first.dataset_type is DatasetType.train
            assert str(second.dataset_type) == "val"
            assert (first.raw_container, first.raw_dataset) == (Path("a.zarr"), "em")
            assert (first.gt_container, first.gt_dataset) == (Path("b.zarr"), "labels/[x&y]")
            assert second.raw_dataset == "em/s0"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "dataset_type,raw,raw_dataset,gt_container,gt_dataset\n",
                "has the header dataset_type, raw, .*in any order",
            ),
            ("dataset_type,raw_dataset\n", "has the header"),
            ("train,a,b,c,d\ntest,a,b,c,d\n", r"line 2: unknown DatasetType 'test'; expected one of train, val"),
            ("train,a,b,c\n", "line 1 has 4 fields"),
            ("train,a,b,c,d,e\n", "line 1 has 6 fields"),
            ("train,a,,c,d\n", "line 1: raw_dataset is empty"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, text: str, message: str) -> None:
        path = tmp_path / "table.csv"
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            generate_dataspec_from_csv(path)

    def test_missing_and_empty_files(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match=r"none\.csv does not exist"):
            DataSplitGenerator.generate_from_csv(tmp_path / "none.csv", (8,) * 3, (8,) * 3)
        (tmp_path / "empty.csv").write_text(self.HEADER)
        with pytest.raises(ConfigError, match="has no rows"):
            DataSplitGenerator.generate_from_csv(tmp_path / "empty.csv", (8,) * 3, (8,) * 3)

    def test_from_table_to_arrays(self, volume: Path, tmp_path: Path) -> None:
        path = tmp_path / "my_cells.csv"
        path.write_text(f"train,{volume},em,{volume},labels/[mito&er]\nval,{volume},em,{volume},labels/[mito&er]\n")
        made = DataSplitGenerator.generate_from_csv(
            path, Coordinate(8, 8, 8), Coordinate(16, 16, 16), targets=["er"], min_training_volume_size=100
        )
        assert made.name == "my_cells"
        config = made.compute()
        assert config.name == "my_cells"
        assert built(config, "validate").gt.channels == ["er"]
        assert DataSplitGenerator.generate_from_csv(path, (8,) * 3, (8,) * 3, "other").name == "other"

    def test_a_row_that_fails_is_named(self, volume: Path) -> None:
        with pytest.raises(DacapoError, match=r"val dataset .*cell\.zarr/labels/mito: "):
            generator(spec(volume, "labels/mito", "val", raw="none")).compute()

    def test_a_spec_prints_as_it_is_made(self) -> None:
        row = DatasetSpec("train", "a", "b", "c", "d")
        assert repr(row) == (
            "DatasetSpec(dataset_type='train', raw_container='a', raw_dataset='b', gt_container='c', gt_dataset='d')"
        )


def test_datasets_are_of_raw_and_gt(volume: Path) -> None:
    assert all(isinstance(dataset, RawGTDatasetConfig) for dataset in generator(spec(volume)).compute().train_configs)


@pytest.mark.parametrize("centered", [True, False])
def test_voxels_with_fractions(tmp_path: Path, raw: np.ndarray, labels: np.ndarray, centered: bool) -> None:
    """Levels of 2.62, 5.24 and 10.48 nm in micrometers; the class er has levels of 5.24 nm, then 10.48 and 20.96."""
    path = tmp_path / "cell.zarr"
    write_ome(path, "em", raw, 2.62, centered=centered)
    write_ome(path, "labels/mito", labels, 2.62)
    write_levels(path, "labels/er", shrink(labels, 2) // 2, 5.24)  # type: ignore[arg-type]
    made = built(generator(spec(path), size=5.24).compute())  # type: ignore[arg-type]
    assert made.gt is not None
    assert made.raw.spacing == made.gt.spacing == (5.24,) * 3
    seen, truth = values(made)
    np.testing.assert_array_equal(seen * 255, shrink(raw, 2))
    np.testing.assert_array_equal(truth, np.stack([shrink(labels, 2) != 0, shrink(labels, 2) // 2 != 0]))


def test_a_resolution_with_a_fraction_is_made_of_integers(tmp_path: Path, raw: np.ndarray, labels: np.ndarray) -> None:
    path = tmp_path / "cell.zarr"
    write_levels(path, "em", raw, 5)
    write_levels(path, "labels/mito", labels, 5)
    finer = {"max_raw_training_upsample": 2, "max_gt_upsample": 2}
    made = built(generator(spec(path, "labels/mito"), size=2.5, **finer).compute())  # type: ignore[arg-type]
    assert made.gt is not None
    assert made.raw.spacing == made.gt.spacing == (2.5,) * 3
    np.testing.assert_array_equal(values(made)[1].squeeze(), np.kron(labels, np.ones((2, 2, 2))) != 0)
    with pytest.raises(ConfigError, match="is not exact"):
        generator(spec(path, "labels/mito"), size=2.71828182845).compute()  # type: ignore[arg-type]
