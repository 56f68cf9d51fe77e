"""Which voxels of an array to read, and their values: a sample within a budget, or all of a small array."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.datasplits.datasets.arrays import Array

T = TypeVar("T")

WHOLE = 2**21
"""Arrays with up to this many values are read whole."""
PATCHES = 24
"""Number of patches to read of a larger array."""
PATCH = 2**16
"""Number of values of a patch."""
TOGETHER = 8
"""Number of patches to read at the same time."""


@attrs.frozen
class Patches:
    """The regions of an array to read.

    Attributes:
        rois: In world units, on the voxel grid of the array.
        whole: Whether they cover all of the region.
        of: Number of voxels of the region.
    """

    rois: list[Roi]
    whole: bool
    of: int


def on_grid(array: Array, roi: Roi) -> Roi:
    """Return the voxels of an array that lie in a region completely."""
    inside = (roi.intersect(array.roi) - array.roi.offset).snap_to_grid(array.voxel_size, mode="shrink")
    return inside + array.roi.offset


def choose_patches(array: Array, region: Roi, points: Sequence[Coordinate], rng: np.random.Generator) -> Patches:
    """Choose the regions to read.

    Args:
        array: The array.
        region: The part to sample, in world units, on the voxel grid.
        points: Centers of patches, in world units; if empty, patches lie anywhere in the region.
        rng: Decides where they lie.
    """
    shape = region.shape / array.voxel_size
    voxels = math.prod(shape)
    channels = 1 if array.channel_axis is None else max(1, int(array.num_channels or 1))
    edge = max(1, int((PATCH / channels) ** (1 / len(shape))))
    size = Coordinate(min(edge, extent) for extent in shape)
    if voxels * channels <= WHOLE and not points:
        return Patches(list(_tiles(array, region, size)), True, voxels)
    chosen = [points[i] for i in rng.permutation(len(points))[:PATCHES]]
    centers = [(point - region.offset) / array.voxel_size - size / 2 for point in chosen]
    begins = centers or [Coordinate(rng.integers(0, shape - size, endpoint=True)) for _ in range(PATCHES)]
    inside = [Coordinate(max(0, min(*pair)) for pair in zip(begin, shape - size, strict=True)) for begin in begins]
    rois = [Roi(region.offset + begin * array.voxel_size, size * array.voxel_size) for begin in inside]
    return Patches(rois, False, voxels)


def _tiles(array: Array, region: Roi, size: Coordinate) -> Iterator[Roi]:
    step = size * array.voxel_size
    ranges = [range(int(b), int(e), int(s)) for b, e, s in zip(region.begin, region.end, step, strict=True)]
    for corner in itertools.product(*ranges):
        yield Roi(corner, step).intersect(region)


def read_patches(is_stored: bool, rois: Sequence[Roi], read: Callable[[Roi], T], seconds: float) -> Iterator[T]:
    """Read patches until a time is over, the first ones in any case.

    Args:
        is_stored: Whether reading works in several threads at once.
        rois: Regions to read.
        read: Returns the content of a region.
        seconds: Time to spend.
    """
    until = time.monotonic() + seconds
    # Also a single read happens in a thread: the threads that a codec starts for the main thread do not survive the
    # fork of the processes that make batches.
    with ThreadPoolExecutor(TOGETHER if is_stored else 1) as pool:
        for begin in range(0, len(rois), TOGETHER):
            yield from pool.map(read, rois[begin : begin + TOGETHER])
            if time.monotonic() > until:
                return
