"""Divide a volume into slabs, to train on one and to validate on another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError

LARGEST_SCORED = {2: 512, 3: 96}
"""Voxels per axis of a part for validation, by number of axes; limits the time for scoring."""


def divide(region: Roi, voxel_size: Coordinate, ends: Sequence[float]) -> list[Roi]:
    """Divide a region along its longest axis.

    All parts but the first are cropped to the middle :data:`LARGEST_SCORED` voxels, since they are scored.

    Args:
        region: In world units, of whole voxels.
        voxel_size: In world units.
        ends: Where the parts end, as ascending fractions; the last part ends with the region.
    """
    shape = region.shape / voxel_size
    axis = int(np.argmax(shape))
    cuts = [0, *(int(shape[axis] * end) for end in ends), shape[axis]]
    parts: list[Roi] = []
    for begin, end in itertools.pairwise(cuts):
        low = [begin if a == axis else 0 for a in range(shape.dims)]
        size = [end - begin if a == axis else shape[a] for a in range(shape.dims)]
        if parts:
            wanted = [min(s, LARGEST_SCORED[shape.dims]) for s in size]
            low, size = [b + (s - w) // 2 for b, s, w in zip(low, size, wanted, strict=True)], wanted
        parts.append(Roi(region.offset + Coordinate(low) * voxel_size, Coordinate(size) * voxel_size))
    return parts


def held_out(raw: Roi, labels: Roi, voxel_size: Coordinate, share: float) -> tuple[Roi, Roi]:
    """Return the region of raw data to train on, and that of labels to validate on, which lies behind it.

    Args:
        raw: Region of the raw data, which may be larger than that of the labels.
        labels: Region of the labels.
        voxel_size: The least common multiple of the voxel sizes of both.
        share: Fraction of the labels to hold out, at the end of their longest axis.

    Raises:
        ConfigError: If the share is not between 0 and 1, or leaves nothing for one of the parts.
    """
    if not 0 < share < 1:
        raise ConfigError(f"validation is {share}; expected a share between 0 and 1, or data to validate on")
    train, validate = divide(labels, voxel_size, [1 - share])
    if train.empty or validate.empty:
        raise ConfigError(
            f"a share of {share} of {tuple(labels.shape / voxel_size)} voxels leaves nothing to train or to validate "
            "on; give another share, or data to validate on"
        )
    axis = int(np.argmax(labels.shape / voxel_size))
    end = Coordinate(train.end[a] if a == axis else raw.end[a] for a in range(raw.dims))
    return Roi(raw.offset, end - raw.offset), validate


def common_voxel_size(first: Coordinate, second: Coordinate) -> Coordinate:
    """Return the least common multiple of two voxel sizes."""
    return Coordinate(math.lcm(a, b) for a, b in zip(first, second, strict=True))
