"""The facts about the data that decisions follow from."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.datasplits import DataSplitConfig
from dacapo.experiments.datasplits.datasets import Dataset

COARSE = 2
"""An axis is coarse if its voxels are at least this many times longer than those of the finest axis."""


@attrs.frozen
class Facts:
    """What is known about the training data.

    Attributes:
        voxel_size: Voxel size of the raw data, in world units.
        smallest_shape: Per axis, the smallest extent of the raw data over all datasets, in voxels.
        channels: Number of channels of the raw data.
    """

    voxel_size: Coordinate
    smallest_shape: Coordinate
    channels: int = 1

    @property
    def coarse_axes(self) -> list[bool]:
        """For each axis, whether its voxels are much longer than those of the finest axis."""
        return [size >= COARSE * min(self.voxel_size) for size in self.voxel_size]


def facts_of(datasplit_config: DataSplitConfig) -> Facts:
    """Return the facts about a data split, from its training datasets. Files are opened, but no voxels are read.

    Raises:
        ConfigError: If it has no training datasets, or they differ in voxel size or channels.
    """
    datasets: list[Dataset] = list(datasplit_config.datasplit_type(datasplit_config).train)
    if not datasets:
        raise ConfigError(f"the data split {datasplit_config.name!r} has no datasets to train on; add some")
    found: dict[Any, str] = {}
    for dataset in datasets:
        found.setdefault((dataset.raw.voxel_size, _channels(dataset)), dataset.name)
    if len(found) > 1:
        listed = "; ".join(f"{size} with {channels} channels: {name}" for (size, channels), name in found.items())
        raise ConfigError(f"raw data differs between datasets, so no network suits all of them: {listed}")
    shapes = [dataset.raw.roi.shape / dataset.raw.voxel_size for dataset in datasets]
    first = datasets[0]
    return Facts(first.raw.voxel_size, Coordinate(np.min(shapes, axis=0).tolist()), _channels(first))


def _channels(dataset: Dataset) -> int:
    return 1 if dataset.raw.channel_axis is None else dataset.raw.num_channels or 1
