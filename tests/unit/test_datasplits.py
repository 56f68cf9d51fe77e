"""Datasplits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dacapo.errors import ConfigError, DuplicateNameError
from dacapo.experiments.datasplits import DataSplit, DataSplitConfig, DummyDataSplitConfig, TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import DummyDatasetConfig, RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import ArrayConfig, DummyArrayConfig, ZarrArrayConfig
from dacapo.store.converter import from_plain, to_plain
from tests.helpers.golden_data import GOLDEN

DUMMY = DummyArrayConfig("dummy")


def build(config: DataSplitConfig) -> DataSplit:
    return config.datasplit_type(config)


def dataset(name: str) -> RawGTDatasetConfig:
    return RawGTDatasetConfig(name, raw_config=DUMMY, gt_config=DUMMY)


def test_lists_its_datasets_in_order() -> None:
    config = TrainValidateDataSplitConfig("s", [dataset("a"), dataset("b")], [dataset("b"), dataset("c")])
    split = build(config)
    assert [d.name for d in split.train] == ["a", "b"]
    assert [d.name for d in split.validate] == ["b", "c"]
    assert config.verify()[0] is True


def test_validation_names_are_unique() -> None:
    config = TrainValidateDataSplitConfig("s", [dataset("a")], [dataset("b"), dataset("b")])
    with pytest.raises(DuplicateNameError, match=r"validate_configs\[1\].name: 'b' is"):
        build(config)


def test_validation_needs_ground_truth() -> None:
    config = TrainValidateDataSplitConfig("s", [], [RawGTDatasetConfig("raw only", raw_config=DUMMY)])
    with pytest.raises(ConfigError, match=r"Dataset\(raw only\), which has no gt"):
        build(config)


def test_training_may_repeat_and_may_lack_ground_truth() -> None:
    config = TrainValidateDataSplitConfig("s", [DummyDatasetConfig("a"), DummyDatasetConfig("a")], [])
    assert len(build(config).train) == 2


def test_verify_names_what_is_missing(tmp_path: Path) -> None:
    raw = ZarrArrayConfig("raw", tmp_path / "none.zarr", "raw")
    config = TrainValidateDataSplitConfig("s", [RawGTDatasetConfig("a", raw_config=raw)], [])
    valid, reason = config.verify()
    assert not valid
    assert "none.zarr does not exist" in reason


def test_dummy() -> None:
    config = DummyDataSplitConfig("s")
    split = build(config)
    assert [d.name for d in split.train] == ["dummy_dataset"]
    assert split.validate == []
    assert config.verify()[0] is False


class OriginalLoader(yaml.SafeLoader):
    """Reads the tuples that the original wrote."""


OriginalLoader.add_constructor(
    "tag:yaml.org,2002:python/tuple", lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
)


def original(path: Path) -> Any:
    return yaml.load(path.read_text(), OriginalLoader)


def test_reads_a_datasplit_of_the_original() -> None:
    config = from_plain(original(GOLDEN / "config_store/datasplits/split.yaml"), DataSplitConfig)
    assert isinstance(config, TrainValidateDataSplitConfig)
    assert [d.weight for d in config.train_configs] == [2, 1]
    assert config.train_configs[1].sample_points == [(80, 80, 80), (160, 96, 200)]
    assert config.train_configs[0].gt_config.source_array_config.roi.shape == (400, 400, 480)
    assert from_plain(to_plain(config), DataSplitConfig) == config


@pytest.mark.parametrize("path", sorted((GOLDEN / "config_store/arrays").glob("*.yaml")), ids=lambda path: path.stem)
def test_reads_arrays_of_the_original(path: Path) -> None:
    plain = original(path)
    config = from_plain(plain, ArrayConfig)
    assert type(config).__name__ == plain["__type__"]
    assert from_plain(to_plain(config), ArrayConfig) == config


def test_verify_finds_a_name_used_twice_with_another_content(tmp_path: Path) -> None:
    one, other = DummyDatasetConfig(name="same"), DummyDatasetConfig(name="same", weight=2)
    config = TrainValidateDataSplitConfig(name="split", train_configs=[one, one], validate_configs=[other])
    works, why = config.verify()
    assert not works
    assert why.startswith("validate_configs[0].name: 'same' is the name of train_configs[0] too")
