"""The interface of datasplits: what to train on and what to validate on."""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar

import attrs

from dacapo.experiments.config import Config, field, verify_by_building

from .datasets import Dataset


class DataSplit(ABC):
    """The datasets of a run."""

    train: list[Dataset]
    """Datasets that training draws from."""
    validate: list[Dataset] | None
    """Datasets that the network is scored on."""


@attrs.define
class DataSplitConfig(Config):
    """Base of the configs of datasplits; ``config.datasplit_type(config)`` builds the datasplit."""

    datasplit_type: ClassVar[type[Any]]

    name: str = field("Name of the datasplit, by which a store finds its config.")

    def verify(self) -> tuple[bool, str]:
        """Check that all datasets can be built. Opens files and reads their metadata, but no voxels."""
        return verify_by_building(self, self.datasplit_type)
