"""The interface of datasets: raw data with its ground truth."""

from __future__ import annotations

from abc import ABC
from collections.abc import Collection
from typing import Any, ClassVar

import attrs
from funlib.geometry import Coordinate

from dacapo.experiments.config import Config, field, verify_by_building

from .arrays import Array
from .arrays.viewing import labels_layer


class Dataset(ABC):
    """Raw data and its annotations, at one place in the world.

    Two datasets are equal if they have the same type, name and config. ``str`` of a dataset is ``Dataset(<name>)``,
    which labels it in tables of scores.
    """

    name: str
    """Identifies the dataset."""
    raw: Array
    """Input of the network."""
    gt: Array | None = None
    """Ground truth."""
    mask: Array | None = None
    """Mask of the reliable ground truth."""
    weight: int = 1
    """Sampling weight relative to the other datasets."""
    sample_points: list[Coordinate] | None = None
    """Centers of training samples, in world units; None samples everywhere."""
    config: DatasetConfig | None = None
    """The config it was built from."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        assert isinstance(other, Dataset)
        return self.name == other.name and self.config == other.config

    def __hash__(self) -> int:
        return hash(self.name)

    def _neuroglancer_layers(self, prefix: str = "", exclude_layers: Collection[str] | None = None) -> dict[str, Any]:
        """Return the layers that show this dataset in a neuroglancer viewer, by name.

        Args:
            prefix: Prefix of the names, before a slash.
            exclude_layers: Names of layers to omit.

        Raises:
            MissingDependencyError: If neuroglancer is not installed.
        """
        layers = {}
        for role, array in (("raw", self.raw), ("gt", self.gt), ("mask", self.mask)):
            name = f"{prefix}/{role}" if prefix else role
            if array is not None and name not in (exclude_layers or ()) and array._can_neuroglance():
                layers[name] = labels_layer(array) if role == "gt" else array._neuroglancer_layer()
        return layers

    def __str__(self) -> str:
        return f"Dataset({self.name})"

    def __repr__(self) -> str:
        return f"Dataset({self.name})"


@attrs.define
class DatasetConfig(Config):
    """Base class of the configs of datasets; ``config.dataset_type(config)`` builds the dataset."""

    dataset_type: ClassVar[type[Any]]

    name: str = field("Name of the dataset, the key of its validation scores and arrays.", alters_training=False)
    weight: int = field("Sampling weight relative to the other datasets.", default=1)

    def verify(self) -> tuple[bool, str]:
        """Check that the dataset can be built. Opens files and reads their metadata, but no voxels."""
        return verify_by_building(self, self.dataset_type)
