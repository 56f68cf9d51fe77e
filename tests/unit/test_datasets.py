"""Datasets: what they hold, when they are equal, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ArrayNotFoundError, ConfigError
from dacapo.experiments.datasplits.datasets import (
    Dataset,
    DatasetConfig,
    DummyDatasetConfig,
    RawGTDataset,
    RawGTDatasetConfig,
)
from dacapo.experiments.datasplits.datasets.arrays import (
    DummyArray,
    DummyArrayConfig,
    OnesArrayConfig,
    ZarrArray,
    ZarrArrayConfig,
)
from dacapo.experiments.datasplits.datasets.graphstores import GraphStoreConfig
from dacapo.experiments.datasplits.keys import ArrayKey, DataKey, GraphKey
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.converter import from_plain, to_plain
from tests.helpers import golden_data

WHOLE = Roi((0, 0, 0), (80, 80, 80))


@pytest.fixture
def stored(tmp_path: Path) -> Any:
    """Return a function that stores an array of zeros and gives its config."""

    def store(name: str, roi: Roi = WHOLE, size: tuple[int, ...] = (8, 8, 8)) -> ZarrArrayConfig:
        ZarrArray.create_from_array_identifier(
            LocalArrayIdentifier(tmp_path / "data.zarr", name),
            ["z", "y", "x"][-roi.dims :],
            roi,
            None,
            Coordinate(size),
            np.uint8,
        )
        return ZarrArrayConfig(name, tmp_path / "data.zarr", name)

    return store


def build(config: DatasetConfig) -> Dataset:
    return config.dataset_type(config)


def test_holds_what_the_config_says(stored: Any) -> None:
    config = RawGTDatasetConfig(
        "first",
        3,
        raw_config=stored("raw"),
        gt_config=stored("gt", Roi((16, 16, 16), (40, 40, 40)), (4, 4, 4)),
        mask_config=stored("mask", Roi((0, 0, 0), (80, 80, 80)), (4, 4, 4)),
        sample_points=[(20, 20, 20)],
    )
    dataset = build(config)
    assert (dataset.name, dataset.weight, dataset.sample_points) == ("first", 3, [Coordinate(20, 20, 20)])
    assert (dataset.raw.name, dataset.gt.name, dataset.mask.name) == ("raw", "gt", "mask")
    assert config.verify()[0] is True


def test_needs_no_ground_truth(stored: Any) -> None:
    dataset = build(RawGTDatasetConfig("first", raw_config=stored("raw")))
    assert (dataset.gt, dataset.mask, dataset.sample_points, dataset.weight) == (None, None, None, 1)


def test_building_reads_no_voxels(stored: Any, tmp_path: Path) -> None:
    config = RawGTDatasetConfig("d", raw_config=stored("raw"), gt_config=stored("gt"))
    for name in ("raw", "gt"):
        chunk = tmp_path / "data.zarr" / name / "0" / "0" / "0"
        chunk.parent.mkdir(parents=True, exist_ok=True)
        chunk.write_bytes(b"damaged")
    build(config)


def test_text_is_as_recorded() -> None:
    stats = golden_data.load_json("stats")
    assert "Dataset(first)" in str(stats)
    dataset = build(DummyDatasetConfig("first"))
    assert str(dataset) == repr(dataset) == "Dataset(first)"


def test_equal_by_name_and_content(stored: Any) -> None:
    raw = stored("raw")
    config = RawGTDatasetConfig("a", raw_config=raw)
    assert build(config) == build(config)
    assert hash(build(config)) == hash(build(config))
    assert len({build(config), build(config)}) == 1
    assert build(config) != build(RawGTDatasetConfig("b", raw_config=raw))
    assert build(config) != build(RawGTDatasetConfig("a", weight=2, raw_config=raw))
    assert build(config) != build(DummyDatasetConfig("a"))
    assert build(config) != "a"


def test_a_dataset_of_another_package_needs_only_a_name() -> None:
    class Named(Dataset):
        def __init__(self, name: str) -> None:
            self.name = name

    assert Named("a") == Named("a")
    assert Named("a") != Named("b")
    assert Named("a").gt is None


def test_raw_is_needed() -> None:
    with pytest.raises(ConfigError, match="has no raw_config"):
        build(RawGTDatasetConfig("d"))


def test_missing_file(tmp_path: Path) -> None:
    config = RawGTDatasetConfig("d", raw_config=ZarrArrayConfig("raw", tmp_path / "none.zarr", "raw"))
    with pytest.raises(ArrayNotFoundError):
        build(config)
    valid, reason = config.verify()
    assert not valid
    assert "none.zarr does not exist" in reason


def test_voxel_sizes_of_raw_and_gt(stored: Any) -> None:
    raw = stored("raw")
    finer = stored("finer", size=(4, 8, 2))
    coarser = stored("coarser", size=(16, 16, 4))
    for gt in (finer, coarser):
        build(RawGTDatasetConfig("d", raw_config=raw, gt_config=gt))
    with pytest.raises(ConfigError, match=r"\(8, 8, 8\) for raw, \(8, 5, 8\) for gt"):
        build(RawGTDatasetConfig("d", raw_config=raw, gt_config=stored("odd", size=(8, 5, 8))))


def test_rois_must_overlap(stored: Any) -> None:
    raw, far = stored("raw"), stored("far", Roi((800, 0, 0), (80, 80, 80)))
    with pytest.raises(ConfigError, match=r"raw covers \[0:80.*gt covers \[800:880.*do not overlap"):
        build(RawGTDatasetConfig("d", raw_config=raw, gt_config=far))
    with pytest.raises(ConfigError, match="mask covers"):
        build(RawGTDatasetConfig("d", raw_config=raw, gt_config=raw, mask_config=far))


def test_dimensions_must_be_equal(stored: Any) -> None:
    flat = stored("flat", Roi((0, 0), (80, 80)), (8, 8))
    with pytest.raises(ConfigError, match=r"3 spatial axes .* 2"):
        build(RawGTDatasetConfig("d", raw_config=stored("raw"), gt_config=flat))


def test_the_mask_has_the_voxels_of_gt(stored: Any) -> None:
    raw, mask = stored("raw"), stored("mask", size=(4, 4, 4))
    with pytest.raises(ConfigError, match=r"\(8, 8, 8\) for gt, \(4, 4, 4\) for mask"):
        build(RawGTDatasetConfig("d", raw_config=raw, gt_config=raw, mask_config=mask))
    with pytest.raises(ConfigError, match="a mask but no gt"):
        build(RawGTDatasetConfig("d", raw_config=raw, mask_config=mask))
    build(RawGTDatasetConfig("d", raw_config=raw, gt_config=raw, mask_config=OnesArrayConfig("ones", raw)))


@pytest.mark.parametrize("point", [(80, 0, 0), (-1, 0, 0), (1, 1)])
def test_sample_points_lie_inside(stored: Any, point: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="sample point"):
        build(RawGTDatasetConfig("d", raw_config=stored("raw"), sample_points=[(0, 0, 0), point]))


def test_weights_are_not_negative(stored: Any) -> None:
    with pytest.raises(ConfigError, match="weight is -1"):
        build(RawGTDatasetConfig("d", -1, raw_config=stored("raw")))


def test_dummy() -> None:
    config = DummyDatasetConfig("d", weight=2)
    dataset = build(config)
    assert isinstance(dataset.raw, DummyArray)
    assert (dataset.weight, dataset.gt) == (2, None)
    assert config.raw_config == DummyArrayConfig("dummy_array")
    assert config.verify()[0] is False


def test_config_survives_a_file(tmp_path: Path) -> None:
    raw = ZarrArrayConfig("raw", tmp_path / "a.zarr", "raw")
    config = RawGTDatasetConfig("d", raw_config=raw, sample_points=[(1, 2, 3), (4, 5, 6)])
    assert from_plain(to_plain(config), DatasetConfig) == config
    assert config.dataset_type is RawGTDataset


def test_keys_name_attributes_of_datasets(stored: Any) -> None:
    dataset = build(RawGTDatasetConfig("d", raw_config=stored("raw"), sample_points=[(1, 2, 3)]))
    for key in (*ArrayKey, *GraphKey):
        assert isinstance(key, DataKey)
        assert hasattr(dataset, key.value)


def test_graph_stores_can_be_added() -> None:
    assert to_plain(GraphStoreConfig()) == {"__type__": "GraphStoreConfig"}
