"""Datasets: raw data with its ground truth."""

from dacapo.utils.aliases import alias_modules

from .dataset import Dataset, DatasetConfig
from .dummy_dataset import DummyDataset, DummyDatasetConfig
from .raw_gt_dataset import RawGTDataset, RawGTDatasetConfig

__all__ = [
    "Dataset",
    "DatasetConfig",
    "DummyDataset",
    "DummyDatasetConfig",
    "RawGTDataset",
    "RawGTDatasetConfig",
]

alias_modules(
    __name__,
    {
        "dataset_config": "dataset",
        "dummy_dataset_config": "dummy_dataset",
        "raw_gt_dataset_config": "raw_gt_dataset",
    },
)
