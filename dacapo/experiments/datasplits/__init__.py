"""Datasplits: what to train on and what to validate on."""

from dacapo.utils.aliases import alias_modules

from .datasplit import DataSplit, DataSplitConfig
from .dummy_datasplit import DummyDataSplit, DummyDataSplitConfig

__all__ = ["DataSplit", "DataSplitConfig", "DummyDataSplit", "DummyDataSplitConfig"]

alias_modules(__name__, {"datasplit_config": "datasplit", "dummy_datasplit_config": "dummy_datasplit"})
