"""A datasplit of made-up data, for trying things out."""

from __future__ import annotations

from typing import ClassVar

import attrs

from dacapo.experiments.config import field

from .datasets import DatasetConfig, DummyDatasetConfig
from .datasplit import DataSplit, DataSplitConfig


class DummyDataSplit(DataSplit):
    """A datasplit with one training dataset and no validation datasets."""

    def __init__(self, datasplit_config: DummyDataSplitConfig) -> None:
        train_config = datasplit_config.train_config
        self.train = [train_config.dataset_type(train_config)]
        self.validate = []


@attrs.define
class DummyDataSplitConfig(DataSplitConfig):
    """Config of a datasplit of made-up data."""

    datasplit_type: ClassVar[type[DummyDataSplit]] = DummyDataSplit

    train_config: DatasetConfig = field(
        "The only training dataset.", factory=lambda: DummyDatasetConfig(name="dummy_dataset")
    )

    def verify(self) -> tuple[bool, str]:
        """Refuse the config: made-up data is not suitable for experiments."""
        return (
            False,
            f"datasplit {self.name!r} is a DummyDataSplitConfig, made-up data that is never valid for an experiment",
        )
