"""The interface of datasets: raw data with its ground truth."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.config import Config, field, verify_by_building
from dacapo.utils.html import html_table

from .arrays import Array, NumpyArray
from .arrays.as_numpy import array_facts, read_whole
from .arrays.memory_array import MemoryArray
from .arrays.slice_viewer import SliceViewer
from .arrays.viewing import labels_layer
from .arrays.voxel_reader import VoxelReader

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADER = ["array", "shape", "dtype", "voxel size", "roi", "labels"]


_COUNTED = 2**22
"""Most voxels whose labels are counted."""


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

    def plot(self, position: float | None = None) -> Figure:
        """Draw a section of raw data, truth, truth over raw data, and mask.

        Args:
            position: Where to cut, in world units along the first axis; by default where most is labeled, of five
                places. Sections are at most 256 voxels wide.

        Raises:
            MissingDependencyError: If matplotlib is not installed.
            RoiError: If the position is outside of the data.
        """
        from .pictures import plot_datasets

        return plot_datasets([(self.name, self)], position)

    def show(self, roi: Roi | None = None, channel: int | Sequence[int] = 0) -> SliceViewer:
        """Return sections of the raw data to leaf through in a notebook, with the truth over them.

        Args:
            roi: The region to show, in world units; by default the middle of the truth, or of raw data without truth.
            channel: The channel of the raw data, or three of them as red, green and blue.
        """
        region = self.gt.roi if roi is None and self.gt is not None else roi
        return SliceViewer(self.raw, self.gt, region, channel)

    def _repr_html_(self) -> str:
        """Return a table of the arrays, for notebooks; reads no files."""
        return html_table(str(self), HEADER, self.rows(), f"weight {self.weight}")

    def rows(self) -> list[list[str]]:
        """Return what is known of each array without reading files: role, shape, type, voxel size, region, labels.

        Labels are counted in the truth if it is in memory, and small.
        """
        arrays = {"raw": self.raw, "truth": self.gt, "mask": self.mask}
        rows = []
        for role, array in arrays.items():
            if array is not None:
                facts = dict(array_facts(array))
                labels = _count_labels(array) if role == "truth" else ""
                rows.append([role, *(facts[name] for name in HEADER[1:-1]), labels])
        return rows

    def __str__(self) -> str:
        return f"Dataset({self.name})"

    def __repr__(self) -> str:
        return f"Dataset({self.name})"


def _count_labels(array: Array) -> str:
    """Return how many labels but 0 an array has, if that needs no file and takes no time; else an empty text."""
    is_small = math.prod(VoxelReader(array).shape) <= _COUNTED
    if not is_small or not isinstance(array, MemoryArray | NumpyArray) or np.dtype(array.dtype).kind not in "bui":
        return ""
    return str(np.count_nonzero(np.unique(read_whole(array))))


@attrs.define
class DatasetConfig(Config):
    """Base class of the configs of datasets; ``config.dataset_type(config)`` builds the dataset."""

    dataset_type: ClassVar[type[Any]]

    name: str = field("Name of the dataset, the key of its validation scores and arrays.", alters_training=False)
    weight: int = field("Sampling weight relative to the other datasets.", default=1)

    def verify(self) -> tuple[bool, str]:
        """Check that the dataset can be built. Opens files and reads their metadata, but no voxels."""
        return verify_by_building(self, self.dataset_type)
