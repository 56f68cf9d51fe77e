"""Datasplits: the training and validation data of a run."""

from dacapo.utils.aliases import alias_modules

from .datasplit import DataSplit, DataSplitConfig
from .datasplit_generator import DataSplitGenerator
from .dummy_datasplit import DummyDataSplit, DummyDataSplitConfig
from .train_validate_datasplit import TrainValidateDataSplit, TrainValidateDataSplitConfig

__all__ = [
    "DataSplit",
    "DataSplitConfig",
    "DataSplitGenerator",
    "DummyDataSplit",
    "DummyDataSplitConfig",
    "TrainValidateDataSplit",
    "TrainValidateDataSplitConfig",
]

alias_modules(
    __name__,
    {
        "datasplit_config": "datasplit",
        "dummy_datasplit_config": "dummy_datasplit",
        "train_validate_datasplit_config": "train_validate_datasplit",
    },
)
