"""A dataset of made-up data, for trying things out."""

from __future__ import annotations

from typing import ClassVar

import attrs

from dacapo.experiments.config import field

from .arrays import ArrayConfig, DummyArrayConfig
from .dataset import Dataset, DatasetConfig


class DummyDataset(Dataset):
    """A dataset with raw data only."""

    def __init__(self, dataset_config: DummyDatasetConfig) -> None:
        self.config = dataset_config
        self.name = dataset_config.name
        self.weight = dataset_config.weight
        self.raw = dataset_config.raw_config.array_type(dataset_config.raw_config)


@attrs.define
class DummyDatasetConfig(DatasetConfig):
    """Config of a dataset of made-up data."""

    dataset_type: ClassVar[type[DummyDataset]] = DummyDataset

    raw_config: ArrayConfig = field("The raw data.", factory=lambda: DummyArrayConfig(name="dummy_array"))

    def verify(self) -> tuple[bool, str]:
        """Refuse the config: made-up data is not suitable for experiments."""
        return (
            False,
            f"dataset {self.name!r} is a DummyDatasetConfig, made-up data that is never valid for an experiment",
        )
