"""An array in a TIFF file."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import Any, ClassVar

import attrs
import numpy as np

from dacapo.errors import ArrayNotFoundError, MetadataError
from dacapo.experiments.config import field
from dacapo.utils.byte_order import native_dtype
from dacapo.utils.paths import is_url

from .axes import axis_names
from .file_array import FileArray, FileArrayConfig
from .metadata import Candidates
from .overrides import optional_numbers
from .placement import stated_in
from .plane_cache import planes
from .plane_reader import read_planes
from .remote_file import exists, readable, version_of
from .tiff_file import opened_tiff
from .tiff_metadata import tiff_candidates


class TiffArray(FileArray):
    """An array in a TIFF file, read only.

    Metadata of OME and ImageJ is read: axes, sizes and units. Uncompressed files are memory-mapped. Others are read
    page by page; decoded pages are cached.
    """

    config: TiffArrayConfig

    def _header(self) -> tuple[tuple[int, ...], np.dtype[Any], Candidates]:
        if self._file.is_dir():
            raise ArrayNotFoundError(f"array {self.name!r}: {self._file} is not a file")
        with opened_tiff(self._file) as file:
            series = file.series[0]
            shape, page = tuple(series.shape), series.keyframe.shape
            self._mappable = series.dataoffset is not None and not is_url(self._file)
            self._page_ndim = len(page)
            outer = shape[: len(shape) - len(page)]
            self._by_page = shape[len(outer) :] == tuple(page) and len(series.pages) == int(np.prod(outer))
            self._opened_by: tuple[int, Any, threading.Lock] | None = None
            self._check(shape)
            self._made = version_of(self._file)
            return shape, native_dtype(series.dtype), tiff_candidates(self.where, file, series)

    def _check(self, shape: tuple[int, ...]) -> None:
        axes = self.config.axes
        if axes is not None and (len(axis_names(axes)) != len(shape) or len(set(axis_names(axes))) != len(shape)):
            raise MetadataError(f"{self}: axes are {axes}, the data has shape {shape}; name each of its axes once")

    def __getstate__(self) -> dict[str, Any]:
        return {**{key: value for key, value in vars(self).items() if key != "_mapped"}, "_opened_by": None}

    @property
    def data(self) -> Any:
        """All values; memory-mapped if the file is not compressed, read by slicing otherwise."""
        return self._map() if self._mappable else super().data

    def _map(self) -> np.ndarray[Any, Any]:
        import tifffile

        if "_mapped" not in vars(self):
            self._mapped: np.ndarray[Any, Any] = tifffile.memmap(self._file, mode="r", series=0)
        return self._mapped

    def _read(self, index: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        if self._mappable:
            return np.asarray(self._map()[index])
        made = self._made
        if not self._by_page:
            return planes.get((str(self._file), made, "all"), self._whole)[index]

        def page(number: int) -> np.ndarray[Any, Any]:
            return planes.get((str(self._file), made, number), partial(self._page, number))

        return read_planes(index, self._shape, self._page_ndim, self._dtype, page)

    def _whole(self) -> np.ndarray[Any, Any]:
        with opened_tiff(self._file) as file:
            return np.asarray(file.series[0].asarray())

    def _page(self, number: int) -> np.ndarray[Any, Any]:
        """Return a decoded page; pages that an OME file leaves out are zeros."""
        import tifffile

        if self._opened_by is None or self._opened_by[0] != os.getpid():
            # Never used by a forked process, where its lock may be held and its file position is shared.
            self._opened_by = os.getpid(), tifffile.TiffFile(readable(self._file)), threading.Lock()
        _, file, lock = self._opened_by
        with lock:
            found = file.series[0].pages[number]
            if found is None:
                return np.zeros(file.series[0].keyframe.shape, self._dtype)
            return np.asarray(found.asarray())


@attrs.define
class TiffArrayConfig(FileArrayConfig):
    """Config of an array in a TIFF file."""

    array_type: ClassVar[type[TiffArray]] = TiffArray

    offset: list[float] | None = field(
        "Corner of the first voxel, in the unit of the file, instead of that in the file.",
        default=None,
        converter=optional_numbers,
    )
    voxel_size: list[float] | None = field(
        "Size of a voxel, in the unit of the file, instead of that in the file.",
        default=None,
        converter=optional_numbers,
    )
    axes: list[str] | None = field(
        "Names of the axes, in the order of the data, instead of those in the file.", default=None
    )

    def stated_metadata(self) -> frozenset[str]:
        """Return which of ``axes``, ``voxel_size`` and ``offset`` the file itself states."""
        with opened_tiff(self.file_name) as file:
            return stated_in(tiff_candidates(str(self.file_name), file, file.series[0]))

    def verify(self) -> tuple[bool, str]:
        """Check that the file exists and the other fields match it. Reads no voxels."""
        works, why = FileArrayConfig.verify(self)
        return works, why if exists(self.file_name) or why.startswith("file_name") else f"file_name: {why}"


# An alias of its former name. Stored configs identify classes by name, so the class needs its own.
ZarrArrayConfig = TiffArrayConfig
