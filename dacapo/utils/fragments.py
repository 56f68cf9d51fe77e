"""Fragments: small pieces of objects, cut out of affinities by a seeded watershed, for agglomeration.

A volume is divided into tiles of a fixed shape from its lower corner on, and each tile has fragments of its own: they
depend on nothing outside of the tile. So the fragments of a volume are the same however it is divided into blocks of
whole tiles.

Importing this module does not load Numba.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.errors import ConfigError
from dacapo.utils.quantize import dequantize, quantize

Levels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint32]

UNIT = (0.0, 1.0)


def as_levels(affinities: npt.NDArray[Any], value_range: tuple[float, float] | None = None) -> Levels:
    """Return affinities as 256 levels, from 0 to 255; ``uint8`` with the range 0 to 1 stays as it is.

    Args:
        affinities: Affinities of any shape.
        value_range: Affinities of the lowest and the highest integer, if they are stored as unsigned integers; None for
            floating point numbers.

    Raises:
        ConfigError: If an affinity is NaN.
        DtypeError: If they are stored as anything but unsigned integers or floating point numbers.
    """
    if affinities.dtype == np.uint8 and value_range in (None, UNIT):
        return affinities
    values = dequantize(affinities, value_range or UNIT)
    if np.isnan(values).any():
        raise ConfigError("an affinity is NaN; all of them must be numbers")
    return quantize(values, UNIT, np.uint8)


@attrs.frozen
class FragmentParameters:
    """Parameters of fragments.

    Attributes:
        per_section: Whether each section, a plane across the first of three axes, has fragments of its own, made from
            the affinities inside it. For data of coarser resolution along that axis.
        seed_distance: Least distance between two seeds of a tile along some axis, in voxels. A larger one gives larger
            fragments.
        tile: Edge of a tile, in voxels.
    """

    per_section: bool = False
    seed_distance: int = 5
    tile: int = 64

    def __attrs_post_init__(self) -> None:
        if self.seed_distance < 1 or self.tile < 2:
            raise ConfigError(
                f"seed_distance is {self.seed_distance} and tile {self.tile}; expected at least 1 and 2 voxels"
            )


def direct_channels(offsets: Sequence[Sequence[int]]) -> list[int]:
    """Return the indices of the offsets that lead to a direct neighbor.

    Raises:
        ConfigError: If there are none.
    """
    direct = [index for index, offset in enumerate(offsets) if sum(abs(int(step)) for step in offset) == 1]
    if not direct:
        raise ConfigError(f"agglomeration needs an offset to a direct neighbor, got {[tuple(o) for o in offsets]}")
    return direct


def in_three_axes(offsets: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Return offsets with zeros before them, so that each has three entries."""
    return [(*(0,) * (3 - len(offset)), *(int(step) for step in offset)) for offset in offsets]


def tile_slices(shape: Sequence[int], tile: int) -> Iterator[tuple[slice, ...]]:
    """Yield the tiles of a volume, the last axis fastest; those at its end are smaller."""
    starts = (range(0, extent, tile) for extent in shape)
    for corner in itertools.product(*starts):
        yield tuple(slice(begin, min(begin + tile, extent)) for begin, extent in zip(corner, shape, strict=True))


def tile_fragments(
    levels: Levels, offsets: Sequence[Sequence[int]], parameters: FragmentParameters
) -> tuple[Labels, int]:
    """Find the fragments of one tile.

    The foreground consists of the voxels whose mean affinity to direct neighbors exceeds one half. Seeds are the voxels
    that are farthest from the background in a box of ``seed_distance`` voxels around them. From them, fragments grow
    through the whole foreground, into voxels of high mean affinity first.

    Args:
        levels: Affinities to direct neighbors of the tile, as levels; channel first, then two or three axes.
        offsets: The offset of each channel.
        parameters: The parameters.

    Returns:
        Labels of the spatial shape from 1 on, 0 for background, and their number.
    """
    from dacapo.utils.fragment_kernels import flood

    steps = in_three_axes(offsets)
    shape = levels.shape[1:]
    per_section = parameters.per_section and len(shape) == 3
    used = [channel for channel, step in enumerate(steps) if not (per_section and step[0])]
    if not used:
        raise ConfigError(f"fragments per section need an offset within a section, got {[tuple(o) for o in offsets]}")
    volume = levels[used].reshape(len(used), *(1,) * (3 - len(shape)), *shape)
    total = volume.sum(axis=0, dtype=np.uint16)
    inside = 2 * total > 255 * len(used)
    across = not per_section and volume.shape[1] > 1
    labels, count = _seeds(inside, across, parameters.seed_distance)
    mean = (total // len(used)).astype(np.uint8)
    # Level 0 is the background, which the flood does not enter.
    flood(np.where(inside, np.maximum(mean, 1), 0).astype(np.uint8), labels, 1, across)
    return labels.reshape(shape), count


def _seeds(inside: npt.NDArray[np.bool_], across: bool, distance: int) -> tuple[Labels, int]:
    """Label the places that are farthest from the background; per section unless ``across``."""
    import cc3d
    import edt
    from scipy.ndimage import maximum_filter

    labels = np.zeros(inside.shape, dtype=np.uint32)
    count = 0
    for part, target in [(inside, labels)] if across else zip(inside, labels, strict=True):
        far = np.minimum(edt.edtsq(part, parallel=1), np.float32(part.size))  # infinite without background
        summits = part & (maximum_filter(far, 2 * distance + 1, mode="nearest") == far)
        found, more = cc3d.connected_components(summits, connectivity=6 if across else 4, return_N=True)
        target[...] = np.where(found > 0, found.astype(np.uint32) + np.uint32(count), 0)
        count += int(more)
    return labels, count


def volume_fragments(
    levels: Levels, offsets: Sequence[Sequence[int]], parameters: FragmentParameters
) -> tuple[Labels, int]:
    """Find the fragments of a volume, tile by tile; the arguments and the result are as of :func:`tile_fragments`."""
    labels = np.zeros(levels.shape[1:], dtype=np.uint32)
    count = 0
    for where in tile_slices(labels.shape, parameters.tile):
        found, more = tile_fragments(levels[(slice(None), *where)], offsets, parameters)
        labels[where] = np.where(found > 0, found + np.uint32(count), 0)
        count += more
    return labels, count
