"""The shared part of arrays in files that are only read: HDF5, TIFF and stacks of images."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ArrayNotFoundError, DacapoError, StorageError
from dacapo.experiments.config import field
from dacapo.utils.byte_order import native
from dacapo.utils.paths import is_url, shown, user_path

from .array import ArrayConfig
from .foreign import metadata_errors
from .metadata import Candidates
from .metadata_array import MetadataArray, snapped
from .overrides import optional_coordinate, optional_numbers, overrides_of, recounted
from .placement import metadata_from
from .remote_file import exists
from .voxel_reader import VoxelReader


class FileArray(MetadataArray):
    """An array in a file, read only. A subclass reads the header, and the values at an index."""

    def __init__(self, array_config: FileArrayConfig) -> None:
        """Read the header of the file.

        Raises:
            ArrayNotFoundError: If the file does not exist.
            MetadataError: If the metadata does not match the shape of the data.
            StorageError: If the file cannot be read.
            MissingDependencyError: If the package that reads it is not installed.
        """
        self.config = array_config
        self.name = array_config.name
        self._file = array_config.file_name
        if not exists(self._file):
            raise ArrayNotFoundError(f"array {self.name!r}: file {shown(self._file)} does not exist")
        self._attributes: dict[str, Any] = {}
        with metadata_errors(self.where):
            self._shape, self._dtype, found = self._header()
            given = overrides_of(array_config)
            grid = given.pop("snap_to_grid", None)
            self._metadata = metadata_from(self.where, self._shape, found, **given)
            self._roi = snapped(self, self._metadata.roi(self._shape), grid)

    @abstractmethod
    def _header(self) -> tuple[tuple[int, ...], np.dtype[Any], Candidates]:
        """Return shape and data type of the values, and the metadata in the file."""
        raise NotImplementedError

    @abstractmethod
    def _read(self, index: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        """Read the values at an index; safe in several threads, and in forked processes."""
        raise NotImplementedError

    @property
    def uses_tensorstore(self) -> bool:
        """Whether TensorStore reads the file, which it does at a URL."""
        return is_url(self._file)

    @property
    def where(self) -> str:
        """The file, for messages."""
        return shown(self._file)

    def __str__(self) -> str:
        return f"array {self.name!r} ({self.where})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.where})"

    @property
    def attrs(self) -> dict[str, Any]:
        return dict(self._attributes)

    @property
    def shape(self) -> Coordinate:
        """Number of voxels per spatial axis."""
        return self._roi.shape / self.voxel_size

    @property
    def roi(self) -> Roi:
        return self._roi

    @property
    def writable(self) -> bool:
        """Always false."""
        return False

    @property
    def data(self) -> Any:
        """All values; slicing reads them."""
        return VoxelReader(self)

    def __getitem__(self, roi: Roi) -> np.ndarray[Any, Any]:
        """Read the values in a roi.

        Raises:
            RoiError: If the roi is not on the grid or extends outside.
            StorageError: If the values cannot be read.
        """
        index = self.slices(roi)
        try:
            return native(np.asarray(self._read(index)))
        except DacapoError:
            raise
        except Exception as error:
            raise StorageError(f"{self} cannot be read in roi {roi}: {error}") from error


@attrs.define
class FileArrayConfig(ArrayConfig):
    """Base class of the configs of arrays in files that are only read."""

    is_as_stored: ClassVar[bool] = True

    file_name: Path = field("The file.", converter=user_path)
    axes: list[str] | None = field("Names of the axes, instead of those in the file.", default=None, kw_only=True)
    voxel_size: list[float] | None = field(
        "Size of a voxel, in the unit of the file, instead of that in the file.",
        default=None,
        converter=optional_numbers,
        kw_only=True,
    )
    offset: list[float] | None = field(
        "Corner of the first voxel, in the unit of the file, instead of that in the file.",
        default=None,
        converter=optional_numbers,
        kw_only=True,
    )
    snap_to_grid: Coordinate | None = field(
        "Move the array to the next multiple of this, in world units, and crop it to end on one.",
        default=None,
        converter=optional_coordinate,
        kw_only=True,
    )
    unit: str | None = field(
        "Unit of voxel size and offset, such as nm, instead of that in the file.", default=None, kw_only=True
    )
    world_unit: str | None = field(
        "Count world units in this unit, such as '0.01 nm'; by default in the unit of the file, or in the largest part "
        "of it that makes voxel size and offset integers.",
        default=None,
        kw_only=True,
    )

    def counted_in(self, unit: str) -> Self:
        return recounted(self, unit)

    def verify(self) -> tuple[bool, str]:
        """Check that the file exists and its metadata is valid. Reads no voxels."""
        works, why = ArrayConfig.verify(self)
        return works, why if works or exists(self.file_name) else f"file_name: {why}"
