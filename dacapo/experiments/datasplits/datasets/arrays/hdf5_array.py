"""An array in an HDF5 file."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np

from dacapo.errors import ArrayNotFoundError, DtypeError, StorageError
from dacapo.experiments.config import field
from dacapo.ext import optional_module
from dacapo.utils.byte_order import native_dtype
from dacapo.utils.paths import shown
from dacapo.utils.plain_json import parse_json

from .containers import dataset_name, listing, the_only
from .file_array import FileArray, FileArrayConfig
from .metadata import Candidates
from .placement import stated_in
from .plain_metadata import plain_candidates
from .remote_file import readable


class _OpenFiles:
    """The HDF5 files that this process has open for reading, by path.

    The HDF5 library lets one thread work at a time, and its open files must not be used by a forked process. So one
    lock guards all files, and they are closed before a fork.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._files: dict[str, Any] = {}

    def get(self, path: Path) -> Any:
        """Return an open file; call with the lock held."""
        key = str(path)
        if key not in self._files:
            h5py = optional_module("h5py", f"{path} is an HDF5 file, which h5py reads")
            try:
                self._files[key] = h5py.File(readable(path), "r")
            except OSError as error:
                raise StorageError(f"cannot open {shown(path)} as HDF5: {error}") from error
        return self._files[key]

    def close_all(self) -> None:
        """Close all files; the next use opens them again."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def before_fork(self) -> None:
        """Wait for reads of other threads, and close all files."""
        self.lock.acquire()
        self.close_all()


_open = _OpenFiles()
os.register_at_fork(before=_open.before_fork, after_in_parent=_open.lock.release, after_in_child=_open.lock.release)


def list_hdf5(path: Path) -> list[str]:
    """Return the sorted names of the arrays in an HDF5 file.

    Raises:
        StorageError: If the file cannot be read.
        MissingDependencyError: If h5py is not installed.
    """
    names: list[str] = []

    def collect(name: str, entry: Any) -> None:
        if getattr(entry, "shape", None):
            names.append(name)

    with _open.lock:
        _open.get(path).visititems(collect)
    return sorted(names)


def only_dataset(path: Path) -> str:
    """Return the name of the only array in an HDF5 file.

    Raises:
        ArrayNotFoundError: If it holds none.
        ConfigError: If it holds several.
    """
    return the_only(path, list_hdf5(path))


class HDF5Array(FileArray):
    """An array in an HDF5 file, read only, by chunks.

    Attributes in the conventions of Zarr and N5 arrays give its position in the world; also ``element_size_um``, the
    ``axistags`` of vigra and ilastik, and the labels of dimensions.
    """

    config: HDF5ArrayConfig

    @property
    def where(self) -> str:
        """File and dataset, for messages."""
        return f"{shown(self._file)}/{self.config.dataset}"

    @property
    def chunk_shape(self) -> tuple[int, ...] | None:
        """Shape of the chunks; None for a dataset that is stored in one piece."""
        return self._chunk_shape

    def _header(self) -> tuple[tuple[int, ...], np.dtype[Any], Candidates]:
        with _open.lock:
            values = _dataset(self._file, self.config.dataset)
            if values.dtype.kind not in "biuf":
                raise DtypeError(f"{self.where} holds {values.dtype}; expected numbers")
            self._attributes = _plain_attributes(values.attrs)
            self._chunk_shape: tuple[int, ...] | None = values.chunks
            labels = [dimension.label for dimension in values.dims]
            return tuple(values.shape), native_dtype(values.dtype), _candidates(self.where, self._attributes, labels)

    @staticmethod
    def release() -> None:
        """Close all HDF5 files of this process, so that others can write to them; the next read opens them again."""
        with _open.lock:
            _open.close_all()

    def _read(self, index: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        with _open.lock:
            return np.asarray(_dataset(self._file, self.config.dataset)[index])


def _dataset(path: Path, dataset: str) -> Any:
    """Return a dataset of an open file; call with the lock held.

    Raises:
        ArrayNotFoundError: If it does not exist; the message lists those that do.
    """
    name = dataset_name(dataset)
    file = _open.get(path)
    found = file.get(name) if name else None
    if getattr(found, "shape", None) is None:
        what = "does not exist" if found is None else "is a group, not an array"
        held = list_hdf5(path)
        holds = f"it holds {listing(held)}" if held else "it holds no arrays"
        raise ArrayNotFoundError(f"dataset {dataset!r} {what} in {shown(path)}; {holds}")
    return found


def _plain_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in attributes.items()}


def _plain(value: Any) -> Any:
    """Return an attribute as lists, numbers and texts; references and the like as their description."""
    if isinstance(value, np.ndarray):
        return [_plain(entry) for entry in value.tolist()]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, (bool, int, float, str, list)) else repr(value)


def _candidates(where: str, attributes: Mapping[str, Any], labels: list[str]) -> Candidates:
    found = Candidates()
    plain_candidates(where, attributes, found)
    if not found.axes:
        names = list(_axis_tags(attributes.get("axistags"))) or labels
        if names and all(names):
            found.axes.append(("axistags or labels of dimensions", names))
    if not found.voxel_size and "element_size_um" in attributes:
        sizes = list(attributes["element_size_um"])
        found.voxel_size.append(("element_size_um", sizes))
        found.units.append(("element_size_um", ["um"] * len(sizes)))
    return found


def _axis_tags(text: Any) -> Iterator[str]:
    """Yield the names of axes in the JSON of vigra, which begins with the slowest."""
    try:
        tags = parse_json(text) if isinstance(text, str) else {}
    except ValueError:
        return  # another program's use of the name
    for axis in tags.get("axes", []) if isinstance(tags, dict) else []:
        yield str(axis.get("key", "") if isinstance(axis, dict) else "")


@attrs.define
class HDF5ArrayConfig(FileArrayConfig):
    """Config of an array in an HDF5 file."""

    array_type: ClassVar[type[HDF5Array]] = HDF5Array

    dataset: str = field("Path of the array inside the file.")

    def stated_metadata(self) -> frozenset[str]:
        """Return which of ``axes``, ``voxel_size`` and ``offset`` the file itself states."""
        with _open.lock:
            values = _dataset(self.file_name, self.dataset)
            labels = [dimension.label for dimension in values.dims]
            return stated_in(_candidates(str(self.file_name), _plain_attributes(values.attrs), labels))
