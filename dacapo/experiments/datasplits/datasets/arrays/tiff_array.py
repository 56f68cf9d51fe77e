"""An array in a TIFF file."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ArrayNotFoundError, MetadataError, StorageError
from dacapo.experiments.config import field
from dacapo.utils.byte_order import native_dtype

from .array import ArrayConfig
from .axes import NON_SPATIAL_AXES, axis_names, spatial_axes_of
from .metadata import ArrayMetadata
from .metadata_array import MetadataArray


class TiffArray(MetadataArray):
    """An array in a TIFF file, read only; the config gives its position in the world.

    Uncompressed files are memory-mapped and read on demand. Compressed files are read completely on the first access to
    voxels.
    """

    def __init__(self, array_config: TiffArrayConfig) -> None:
        """Read the header of the file.

        Raises:
            ArrayNotFoundError: If the file does not exist.
            MetadataError: If axes, offset and voxel size do not match the shape of the data.
            StorageError: If the file cannot be read.
        """
        self.name = array_config.name
        self._file = array_config.file_name
        if not self._file.is_file():
            raise ArrayNotFoundError(f"array {self.name!r}: file {self._file} does not exist")
        self._shape, self._dtype, self._mappable = self._header()
        axes = axis_names(array_config.axes)
        dims = len(spatial_axes_of(axes))
        offset, voxel_size = array_config.offset, array_config.voxel_size
        if len(axes) != len(self._shape) or len(set(axes)) != len(axes):
            raise MetadataError(
                f"{self}: axes are {axes}, the data has shape {self._shape}; name each of its axes once"
            )
        if offset.dims != dims or voxel_size.dims != dims or min(voxel_size) <= 0:
            raise MetadataError(
                f"{self}: offset is {offset}, voxel size {voxel_size}; expected {dims} numbers for axes {axes}, "
                "and voxel sizes above 0"
            )
        self._metadata = ArrayMetadata(axes, voxel_size, offset, [""] * dims)

    def _header(self) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
        import tifffile

        try:
            with tifffile.TiffFile(self._file) as file:
                series = file.series[0]
                return tuple(series.shape), native_dtype(series.dtype), series.dataoffset is not None
        except (OSError, ValueError, IndexError, tifffile.TiffFileError) as error:
            raise StorageError(f"cannot read {self._file} as TIFF: {error}") from error

    def __str__(self) -> str:
        return f"array {self.name!r} ({self._file})"

    @property
    def attrs(self) -> dict[str, Any]:
        """Always empty: only voxels are read from the file."""
        return {}

    @property
    def shape(self) -> Coordinate:
        """Number of voxels per spatial axis."""
        pairs = zip(self._metadata.axes, self._shape, strict=True)
        return Coordinate(size for axis, size in pairs if axis not in NON_SPATIAL_AXES)

    @property
    def roi(self) -> Roi:
        return self._metadata.roi(self._shape)

    @property
    def writable(self) -> bool:
        return False

    @cached_property
    def data(self) -> np.ndarray[Any, Any]:
        """All values; memory-mapped if the file is not compressed."""
        import tifffile

        try:
            if self._mappable:
                mapped: np.ndarray[Any, Any] = tifffile.memmap(self._file, mode="r", series=0)
                return mapped
            return np.asarray(tifffile.imread(self._file, series=0))
        except Exception as error:
            raise StorageError(f"{self}: cannot be read: {error}") from error


@attrs.define
class TiffArrayConfig(ArrayConfig):
    """Config of an array in a TIFF file."""

    array_type: ClassVar[type[TiffArray]] = TiffArray
    is_as_stored: ClassVar[bool] = True

    file_name: Path = field("The TIFF file.", converter=Path)
    offset: Coordinate = field("Corner of the first voxel, in world units.", converter=Coordinate)
    voxel_size: Coordinate = field("Size of a voxel, in world units.", converter=Coordinate)
    axes: list[str] = field("Names of the axes, in the order of the data.")

    def counted_in(self, unit: str) -> TiffArrayConfig:
        factor = self.array_type(self).world.factor_to(unit)
        return attrs.evolve(self, offset=self.offset * factor, voxel_size=self.voxel_size * factor)

    def verify(self) -> tuple[bool, str]:
        """Check that the file exists and the other fields match it. Reads no voxels."""
        works, why = ArrayConfig.verify(self)
        return works, why if self.file_name.is_file() else f"file_name: {why}"


# An alias of its former name. Stored configs identify classes by name, so the class needs its own.
ZarrArrayConfig = TiffArrayConfig
