"""Open an array whatever its format: the format is recognized by the content of the file or folder."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dacapo.errors import ArrayNotFoundError, ConfigError, DacapoError, MetadataWarning
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.paths import is_url, shown, user_path

from .array import Array, ArrayConfig
from .axes import TIME_AXES, spatial_axes_of
from .containers import dataset_name, default_dataset, is_container
from .foreign import metadata_errors
from .hdf5_array import HDF5Array, HDF5ArrayConfig, only_dataset
from .image_stack_array import SUFFIXES, ImageStackArrayConfig, planes_in
from .levels import chosen_level
from .remote_file import open_file
from .select_array import SelectArrayConfig
from .tiff_array import TiffArrayConfig
from .view import build
from .zarr_array import ZarrArrayConfig

logger = logging.getLogger(__name__)

CONTAINER_SUFFIXES = (".zarr", ".n5")
FILE_SUFFIXES = (*SUFFIXES, ".h5", ".hdf5", ".hdf")
"""Ends of the names of files, by which they are told from containers at URLs."""


@attrs.frozen
class FileFormat:
    """A kind of file or folder that arrays are read from.

    Attributes:
        name: Name of the format, for messages.
        recognizes: Whether a path that exists is of this format.
        config: The class of configs of its arrays.
        default_dataset: Returns the name of the array to open if none is given; None for files of a single array.
    """

    name: str
    recognizes: Callable[[Path], bool]
    config: type[ArrayConfig]
    default_dataset: Callable[[Path], str] | None = None


def is_file(path: Path) -> bool:
    """Return whether a path is that of a file; at a URL by its name."""
    return path.suffix.lower() in FILE_SUFFIXES if is_url(path) else path.is_file()


def _is_container(path: Path) -> bool:
    if is_url(path):
        return not is_file(path)
    return path.is_dir() and (path.suffix in CONTAINER_SUFFIXES or is_container(path))


def _begins_with(*headers: bytes) -> Callable[[Path], bool]:
    def recognizes(path: Path) -> bool:
        if not is_file(path):
            return False
        with open_file(path) as file:
            return bool(file.read(max(map(len, headers))).startswith(headers))

    return recognizes


def _is_stack(path: Path) -> bool:
    return path.is_dir() and bool(planes_in(path))


FORMATS = (
    FileFormat("Zarr, N5 or precomputed", _is_container, ZarrArrayConfig, default_dataset),
    FileFormat("HDF5", _begins_with(b"\x89HDF\r\n\x1a\n"), HDF5ArrayConfig, only_dataset),
    FileFormat("TIFF", _begins_with(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffArrayConfig),
    FileFormat("image", _begins_with(b"\x89PNG", b"BM", b"\xff\xd8\xff"), ImageStackArrayConfig),
    FileFormat("folder of images", _is_stack, ImageStackArrayConfig),
)
"""All formats; the first one that recognizes a path counts."""


def open_array(
    path: Path | str,
    dataset: str | None = None,
    *,
    name: str = "",
    level: str | Sequence[float] | None = None,
    select: Mapping[str, int] | None = None,
    **overrides: Any,
) -> Array:
    """Open an array for reading. Its metadata is read, but no voxels.

    Args:
        path: File, container, or the path of a dataset inside a container, such as ``cells.zarr/volumes/raw``.
        dataset: Path of the array inside the container; not needed if the container holds a single array or image. Of
            an image with several levels the finest is opened.
        level: The level of the image, by its name or its voxel size.
        name: Name of the array, for messages; by default its path.
        select: The index along each axis to drop, such as ``{"t": 0}`` for the first point in time.
        **overrides: Fields of the array's config, in place of the metadata in the file: ``axes``, ``voxel_size``,
            ``offset``, and others that the format has.

    Raises:
        ArrayNotFoundError: If the file, the container or the dataset does not exist.
        ConfigError: If the format is unknown, or its config lacks one of the overrides.
        MetadataError: If the metadata contradicts itself or the shape of the data.
        StorageError: If the array cannot be opened.
    """
    return build(config_for(path, dataset, name=name, level=level, select=select, **overrides))


def config_for(
    path: Path | str,
    dataset: str | None = None,
    *,
    name: str = "",
    level: str | Sequence[float] | None = None,
    select: Mapping[str, int] | None = None,
    **overrides: Any,
) -> ArrayConfig:
    """Return the config of the array that :func:`open_array` opens with the same arguments.

    Raises:
        ArrayNotFoundError: If the file or the container does not exist.
        ConfigError: If the format is unknown, or its config lacks one of the overrides.
    """
    container, wanted = split_path(user_path(path), dataset)
    with metadata_errors(shown(container)):
        config = _config_of(container, wanted, name, level, overrides)
        index = {**_only_points_in_time(config), **(select or {})}
    return SelectArrayConfig(config.name, config, index) if index else config


def _config_of(
    container: Path, wanted: str, name: str, level: str | Sequence[float] | None, overrides: Mapping[str, Any]
) -> ArrayConfig:
    kind = format_of(container, holds_datasets=bool(wanted))
    given: dict[str, Any] = {"name": name, "file_name": container}
    if kind.default_dataset is not None:
        if kind.config is ZarrArrayConfig:
            wanted = chosen_level(container, wanted, level)
        wanted = wanted or kind.default_dataset(container)
        given |= {"dataset": wanted}
    if kind.config is ZarrArrayConfig:
        given |= {"mode": "r"}
    given["name"] = name or (f"{container.name}/{wanted}" if wanted else container.name)
    known = [str(field.alias) for field in attrs.fields(kind.config) if field.alias not in given]
    unknown = [key for key in overrides if key not in known]
    if unknown:
        raise ConfigError(
            f"{', '.join(unknown)} cannot be given for {container} ({kind.name}); known are {', '.join(known)}"
        )
    return kind.config(**given, **overrides)


def _only_points_in_time(config: ArrayConfig) -> dict[str, int]:
    """Return the index along a time axis of a single entry, as converters of microscope files write it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MetadataWarning)  # opening the array warns
            array = build(config)
    except DacapoError:
        return {}  # opening the array raises the same error, with the name that the user gave
    if isinstance(array, HDF5Array):
        array.release()
    lengths = dict(zip(spatial_axes_of(array.axes), array.roi.shape / array.voxel_size, strict=True))
    index = {axis: 0 for axis, length in lengths.items() if axis.lower() in TIME_AXES and length == 1}
    if index and len(index) < len(lengths):
        logger.info("%s has a single point in time, which is used", array)
        return index
    return {}


def open_identifier(identifier: LocalArrayIdentifier, name: str = "") -> Array:
    """Open the array of an identifier for reading, in any format."""
    return open_array(identifier.container, identifier.dataset, name=name)


def identifier_of(config: ArrayConfig) -> LocalArrayIdentifier:
    """Return the identifier by which :func:`open_array` finds the array of a config from a file.

    Raises:
        ConfigError: If the config reads no single file.
    """
    file = getattr(config, "file_name", None)
    if file is None:
        raise ConfigError(f"{type(config).__name__} {config.name!r} reads no file of its own")
    return LocalArrayIdentifier(file, getattr(config, "dataset", ""))


def split_path(path: Path, dataset: str | None) -> tuple[Path, str]:
    """Divide a path into the container and the dataset inside it.

    A folder with a dataset is the container. Otherwise it is the outermost folder that is one, since all of them may
    have metadata of the array.

    Raises:
        ArrayNotFoundError: If nothing exists at the path.
    """
    if is_url(path):
        suffixes = (*CONTAINER_SUFFIXES, *FILE_SUFFIXES)
        outer = [parent for parent in [*reversed(path.parents), path] if parent.suffix.lower() in suffixes]
        if outer and (dataset is None or outer[0].suffix.lower() in FILE_SUFFIXES):
            return outer[0], dataset_name(f"{path.relative_to(outer[0]).as_posix()}/{dataset or ''}")
        return path, dataset_name(dataset or "")
    if dataset is not None and path.is_dir():
        return path, dataset_name(dataset)
    outer = [parent for parent in reversed(path.parents) if parent.exists()]
    for parent in outer:
        if parent.is_file() or (parent.suffix in CONTAINER_SUFFIXES or is_container(parent)):
            return parent, dataset_name(f"{path.relative_to(parent).as_posix()}/{dataset or ''}")
    if not path.exists():
        requested = f" (requested dataset {dataset!r})" if dataset is not None else ""
        raise ArrayNotFoundError(f"container {path} does not exist{requested}; the folder {outer[-1]} does")
    return path, dataset_name(dataset or "")


def format_of(path: Path, holds_datasets: bool) -> FileFormat:
    """Return the format of a file or folder.

    Raises:
        ConfigError: If none recognizes it, or a dataset is asked of one that holds none.
    """
    found = next((kind for kind in FORMATS if kind.recognizes(path)), None)
    if found is None and path.is_dir() and holds_datasets:
        return FORMATS[0]  # a folder of arrays need not say that it is a group
    names = ", ".join(kind.name for kind in FORMATS)
    if found is None:
        what = "folder" if path.is_dir() else "file"
        raise ConfigError(f"{path} is a {what} of an unknown format; supported are {names}")
    if holds_datasets and found.default_dataset is None:
        raise ConfigError(f"{path} is a {found.name}, which holds a single array; leave the dataset empty")
    return found
