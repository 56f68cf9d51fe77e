"""Datasplits in neuroglancer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("neuroglancer")

from dacapo.experiments.datasplits import DataSplit, DataSplitConfig, DummyDataSplitConfig, TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import DummyArray, DummyArrayConfig, OnesArrayConfig
from tests.helpers.viewers import fetch, layers_of

DUMMY = DummyArrayConfig("dummy")


def build(config: DataSplitConfig) -> Any:
    return config.datasplit_type(config)


def dataset(name: str) -> RawGTDatasetConfig:
    return RawGTDatasetConfig(name, raw_config=DUMMY, gt_config=DUMMY)


def test_neuroglancer_shows_all_datasets() -> None:
    config = TrainValidateDataSplitConfig("s", [dataset("a"), dataset("a")], [dataset("b")])
    viewer = build(config)._neuroglancer()
    names = ["train/a", "train/a (2)", "validate/b"]
    assert layers_of(viewer) == [f"{name}/{role}" for name in names for role in ("raw", "gt")]
    expected = DummyArray(DUMMY).data[:20, :10, :5]
    np.testing.assert_array_equal(fetch(viewer, "validate/b/raw", (20, 10, 5)), expected)


def test_neuroglancer_shows_masks_and_little_else() -> None:
    config = RawGTDatasetConfig("m", raw_config=DUMMY, gt_config=DUMMY, mask_config=OnesArrayConfig("ones", DUMMY))
    layers = config.dataset_type(config)._neuroglancer_layers("m", exclude_layers=["m/gt"])
    assert list(layers) == ["m/raw", "m/mask"]
    assert list(config.dataset_type(config)._neuroglancer_layers()) == ["raw", "gt", "mask"]


def test_neuroglancer_of_dummy_and_foreign_datasplits() -> None:
    class Foreign(DataSplit):
        def __init__(self) -> None:
            self.train = build(DummyDataSplitConfig("s")).train
            self.validate = None

    for split, name in ((build(DummyDataSplitConfig("s")), "dummy_dataset"), (Foreign(), "dummy_dataset")):
        assert layers_of(split._neuroglancer()) == [f"train/{name}/raw"]


def test_neuroglancer_in_a_notebook() -> None:
    frame = build(DummyDataSplitConfig("s"))._neuroglancer(embedded=True)
    assert frame.viewer.get_viewer_url() in frame._repr_html_()
    assert layers_of(frame.viewer) == ["train/dummy_dataset/raw"]
