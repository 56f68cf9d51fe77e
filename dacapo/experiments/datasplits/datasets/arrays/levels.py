"""The levels of an image with several resolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from dacapo.errors import ArrayNotFoundError
from dacapo.utils.paths import shown

from .array import Array
from .containers import is_array, multiscale_levels
from .places import is_folder
from .view import build
from .zarr_array import ZarrArrayConfig


def chosen_level(container: Path, dataset: str, level: str | Sequence[float] | None) -> str:
    """Return the dataset of a level; the dataset itself if it is an array, or no image with levels.

    Args:
        container: The container.
        dataset: An image or array inside it.
        level: Name or voxel size of the level; by default the finest.

    Raises:
        ArrayNotFoundError: If there is no such level; the message lists those that exist.
    """
    names = [] if is_array(container / dataset) else multiscale_levels(container / dataset)
    if not names:
        if level is not None:
            raise ArrayNotFoundError(
                f"{shown(container / dataset)} is no image with levels, so none is {level}; name an array"
            )
        return dataset
    paths = {name: f"{dataset}/{name}".strip("/") for name in names}
    if level is None:
        return next(iter(paths.values()))
    if isinstance(level, str):
        if level in paths:
            return paths[level]
        raise ArrayNotFoundError(f"{shown(container / dataset)} has the levels {', '.join(paths)}, but not {level!r}")
    sizes = {name: _open(container, path).spacing for name, path in paths.items()}
    for name, size in sizes.items():
        if len(size) == len(level) and all(map(math.isclose, size, level)):
            return paths[name]
    listed = ", ".join(f"{name} of {list(size)}" for name, size in sizes.items())
    raise ArrayNotFoundError(
        f"{shown(container / dataset)} has the levels {listed}, but none with voxels of {list(level)}"
    )


def level_configs(container: Path, dataset: str) -> list[ZarrArrayConfig]:
    """Return the configs of the levels of an image; none for an array, or what is no image."""
    if not is_folder(container) or is_array(container / dataset):
        return []
    paths = [f"{dataset}/{name}".strip("/") for name in multiscale_levels(container / dataset)]
    return [ZarrArrayConfig(f"{container.name}/{path}", container, path, mode="r") for path in paths]


def _open(container: Path, dataset: str) -> Array:
    return build(ZarrArrayConfig(dataset, container, dataset, mode="r"))
