"""The range of raw values that a network gets as -1 to 1."""

from __future__ import annotations

import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays import Array, ArrayConfig, IntensitiesArrayConfig

PERCENTILES = (0.5, 99.5)
LARGEST_SAMPLE = {2: 682, 3: 128}
"""Voxels per axis of the sample that percentiles are taken of, by number of axes."""


def scaled(source: ArrayConfig, low: float, high: float) -> ArrayConfig:
    """Scale a range to -1..1: networks learn faster from values around 0."""
    middle = (low + high) / 2  # maps to 0, the upper end maps to 1
    return IntensitiesArrayConfig(name=f"{source.name}_scaled", source_array_config=source, min=middle, max=float(high))


def intensity_range(raw: Array, region: Roi) -> tuple[float, float]:
    """Return the intensities that map to -1 and 1: the full range of uint8, else percentiles of a sample.

    Args:
        raw: The raw data.
        region: Where to take the sample, in its middle.

    Raises:
        ConfigError: If all values of the sample are equal.
    """
    if raw.dtype == np.uint8:
        return 0.0, 255.0
    largest = LARGEST_SAMPLE[raw.dims]
    size = Coordinate(min(s, largest * v) // v * v for s, v in zip(region.shape, raw.voxel_size, strict=True))
    middle = Roi(region.offset + (region.shape - size) / 2 / raw.voxel_size * raw.voxel_size, size)
    low, high = (float(value) for value in np.percentile(raw[middle], PERCENTILES))
    if not low < high:
        raise ConfigError(f"{raw} is constant ({low:g}) in the middle of its training part {middle}")
    return low, high
