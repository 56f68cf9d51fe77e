"""Which arrays a file or container holds, and which of them are levels of one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dacapo.utils.paths import user_path

from .containers import is_array, list_datasets, multiscale_levels
from .hdf5_array import HDF5ArrayConfig, list_hdf5
from .opener import config_for, format_of, is_file, split_path


def arrays_in(path: Path | str, dataset: str | None = None) -> tuple[Path, list[str]]:
    """Return a container, and the names of its arrays at or below a place inside it.

    Args:
        path: File, container, or the path of a group or dataset inside a container.
        dataset: Group or dataset inside the container.

    Returns:
        The container, and the sorted names of the arrays; an empty name for a file of a single array.

    Raises:
        ArrayNotFoundError: If the path does not exist.
        ConfigError: If the format is unknown.
    """
    container, inside = split_path(user_path(path), dataset)
    if is_file(container):
        names = list_hdf5(container) if format_of(container, bool(inside)).config is HDF5ArrayConfig else [""]
        return container, [name for name in names if not inside or name == inside or name.startswith(f"{inside}/")]
    if is_array(container / inside):
        return container, [inside]
    below = list_datasets(container / inside, limit=None)
    if not below and not inside:
        # A folder of images, a URL, which cannot be listed, or an error that names the formats.
        return container, [getattr(config_for(container), "dataset", "")]
    return container, ["/".join(filter(None, (inside, name))) for name in below]


def images_in(container: Path, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the groups that are images with several levels, each with the names of its levels, the finest first.

    Args:
        container: The container.
        names: Names of its arrays; groups above them are looked at.
    """
    if is_file(container):
        return
    for group in dict.fromkeys(name.rpartition("/")[0] for name in names):
        levels = multiscale_levels(container / group)
        if len(levels) > 1:
            yield group, levels
