"""Scale levels of a volume on disk, and the choice of the level to read for a voxel size."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.utils.exact_numbers import exact, parts_for

from .datasets.arrays import ArrayConfig, ResampledArrayConfig, ZarrArray, ZarrArrayConfig
from .datasets.arrays.containers import dataset_name, find_array, is_array, multiscale_levels
from .datasets.arrays.world import World, common_unit

LEVEL_NAME = re.compile(r"s?\d+")
"""Conventional names of levels in plain containers: s0, s1, ... or 0, 1, ..."""


def find_levels(container: Path, dataset: str, name: str, resolution: Sequence[float] | None = None) -> list[ZarrArray]:
    """Open the scale levels of a volume, the finest first, with world units that suit all of them. Voxels are not read.

    A dataset that is an array is the only level, even if others lie beside it. The levels of a group are the arrays
    listed by its OME-NGFF multiscales, or else those named ``s0``, ``s1``, ... or ``0``, ``1``, ...

    Args:
        container: Folder in a format that :class:`ZarrArray` reads.
        dataset: Path of the array or group inside the container.
        name: Name of the levels in their configs.
        resolution: A voxel size, in units of the levels, that is to be an integer number of world units as well.

    Raises:
        ArrayNotFoundError: If the dataset is neither an array nor a group with levels.
        MetadataError: If the attributes of a level contradict each other.
    """
    group = dataset_name(dataset)
    names = _level_names(container / group)
    if not names:
        find_array(container, group)  # raises an error that lists the existing datasets
    configs = [ZarrArrayConfig(name, container, f"{group}/{level}".strip("/"), mode="r") for level in names]
    levels = [ZarrArray(config) for config in configs]
    worlds = [level.world for level in levels]
    if resolution is not None:
        worlds.append(World(worlds[0].units, _parts(resolution)))
    unit = common_unit(worlds)
    if unit is not None:
        levels = [ZarrArray(level.config.counted_in(unit)) for level in levels]
    return sorted(levels, key=lambda level: math.prod(level.voxel_size))


def in_world_units(levels: Sequence[ZarrArray], resolution: Sequence[float]) -> Coordinate:
    """Return a voxel size in world units.

    Args:
        levels: From :func:`find_levels` with the same resolution.
        resolution: In units of the levels.
    """
    return Coordinate(round(size * levels[0].world.parts) for size in resolution)


def _parts(resolution: Sequence[float]) -> int:
    numbers = [exact(size) for size in resolution]
    parts = parts_for(number for number in numbers if number is not None)
    if None in numbers or parts is None:
        raise ConfigError(f"resolution {tuple(resolution)} is not exact; give decimal numbers of up to six digits")
    return parts


def has_levels(container: Path, dataset: str) -> bool:
    """Return whether a dataset is an array or a group with scale levels."""
    return bool(_level_names(container / dataset_name(dataset)))


def _level_names(folder: Path) -> list[str]:
    return [""] if is_array(folder) else multiscale_levels(folder) or _numbered(folder)


def _numbered(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [child.name for child in folder.iterdir() if LEVEL_NAME.fullmatch(child.name) and is_array(child)]


def closest_level(
    levels: Sequence[ZarrArray], voxel_size: Coordinate, max_downsample: float, max_upsample: float
) -> ZarrArray:
    """Return the level whose voxel size is closest to a requested one; the finer level if two are equally close.

    If a level of exactly that size lies more than half a voxel before the next multiple of the size, a finer level is
    preferred, from which the voxels at the multiples can be computed.

    Args:
        levels: At least one.
        voxel_size: Requested voxel size, in world units.
        max_downsample: Limit on how many times larger than the level's the requested voxels may be along any axis.
        max_upsample: Limit on how many times smaller they may be.

    Raises:
        ConfigError: If no level is within the limits, or the number of axes differs.
    """
    dims = levels[0].voxel_size.dims
    if dims != voxel_size.dims:
        raise ConfigError(
            f"{levels[0]} has {dims} spatial axes, but the resolution {voxel_size} is for {voxel_size.dims}"
        )
    usable = [level for level in levels if _within(level.voxel_size, voxel_size, max_downsample, max_upsample)]
    if not usable:
        listed = ", ".join(f"{level.dataset or 'the array'} with {level.spacing}" for level in levels)
        raise ConfigError(
            f"resolution {levels[0].world.in_units(voxel_size)} cannot be reached in {levels[0].file_name}: it has "
            f"{listed}, and voxels may "
            f"become {max_downsample:g} times larger or {max_upsample:g} times smaller; choose another resolution or "
            "wider limits"
        )
    best = min(usable, key=lambda level: _distance(level, voxel_size))
    if any(2 * shift > size for shift, size in zip(_shift(best, voxel_size), voxel_size, strict=True)):
        finer = [level for level in usable if _is_finer(level, best)]
        best = min(finer, key=lambda level: _distance(level, voxel_size), default=best)
    return best


def _within(voxel_size: Coordinate, wanted: Coordinate, max_downsample: float, max_upsample: float) -> bool:
    return all(w <= v * max_downsample and v <= w * max_upsample for v, w in zip(voxel_size, wanted, strict=True))


def _distance(level: ZarrArray, wanted: Coordinate) -> tuple[float, int]:
    ratios = [math.log2(v / w) for v, w in zip(level.voxel_size, wanted, strict=True)]
    return round(sum(map(abs, ratios)), 9), math.prod(level.voxel_size)


def _is_finer(level: ZarrArray, other: ZarrArray) -> bool:
    pairs = list(zip(level.voxel_size, other.voxel_size, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _shift(level: ZarrArray, wanted: Coordinate) -> Coordinate:
    """Return the distance to the next multiple of the requested voxel size, along axes that need no resampling."""
    size = level.voxel_size
    return Coordinate(-o % w if v == w else 0 for o, v, w in zip(level.roi.offset, size, wanted, strict=True))


def read_as(level: ZarrArray, voxel_size: Coordinate, interpolate: bool) -> ArrayConfig:
    """Return the config that reads a level with a given voxel size, on the grid of its multiples.

    Args:
        level: A level returned by :func:`closest_level`.
        voxel_size: Requested voxel size, in world units.
        interpolate: Whether to interpolate between voxels, as for raw data, or not, as for labels.
    """
    config = level.config
    if any(_shift(level, voxel_size)):
        config.snap_to_grid = level.voxel_size
    if level.voxel_size == voxel_size:
        return config
    common = [math.gcd(v, w) for v, w in zip(level.voxel_size, voxel_size, strict=True)]
    return ResampledArrayConfig(
        name=f"{config.name}_resampled",
        source_array_config=config,
        upsample=level.voxel_size / Coordinate(common),
        downsample=voxel_size / Coordinate(common),
        interp_order=interpolate,
    )
