"""An array on disk: Zarr v2 and v3 to read and write, N5 to read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import (
    ArrayNotFoundError,
    ConfigError,
    DacapoError,
    DamagedFileError,
    RoiError,
    StorageError,
)
from dacapo.experiments.config import field
from dacapo.utils.byte_order import native
from dacapo.utils.paths import is_url, user_path

from .array import ArrayConfig
from .axes import axis_names
from .chunk_cache import CachedReader
from .chunk_shapes import chunk_shape
from .containers import dataset_name, find_array
from .foreign import check_readable, metadata_errors
from .metadata import ArrayMetadata
from .metadata_array import MetadataArray, snapped
from .ome_images import forget_image
from .overrides import optional_coordinate, optional_numbers, overrides_of, recounted
from .remote_files import is_writable_place
from .stored_chunks import check_chunks, chunk_files, stored_chunks
from .stored_metadata import metadata_of, stated_metadata
from .stored_values import numpy_dtype, open_stored, read_values, write_values
from .world import World
from .zarr3_files import update_attributes
from .zarr_creation import check_target, create_files, kept_axes, plain_dtype

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier

MODES = ("r", "r+", "a", "w")


class ZarrArray(MetadataArray):
    """An array in a container on disk.

    Construction opens the array and reads its attributes. Voxels are read on demand.

    If the attributes lack axes, voxel size or offset, a default is used and announced by a
    :class:`~dacapo.errors.MetadataWarning`. See :mod:`.metadata` for the supported conventions.
    """

    def __init__(self, array_config: ZarrArrayConfig) -> None:
        """Open the array.

        Raises:
            ArrayNotFoundError: If the container or the dataset does not exist.
            MetadataError: If the attributes contradict each other or the shape of the data.
            UnsafeFileError: If the array holds Python objects.
            StorageError: If it cannot be opened.
        """
        self.config = array_config
        self.name = array_config.name
        self.file_name = array_config.file_name
        self.dataset = array_config.dataset
        self.snap_to_grid = array_config.snap_to_grid
        if self.mode not in MODES:
            raise ConfigError(f"array {self.name!r}: mode is {self.mode!r}; expected one of {', '.join(MODES)}")
        self._found = find_array(self.file_name, self.dataset)
        with metadata_errors(self._found.where):
            self._opened = open_stored(self._found, self.mode)
            self._shape = tuple(int(n) for n in self._opened.shape)
            self._dtype = numpy_dtype(self._opened)
            self._cached = CachedReader(self._found, self._dtype)
            self._attributes: dict[str, Any] = dict(self._found.attributes)
            self._metadata = metadata_of(self._found, self._shape, **array_config.place)
            self._roi = snapped(self, self._metadata.roi(self._shape), self.snap_to_grid)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_opened"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Reopen the array in the process that it was sent to."""
        vars(self).update(state)
        self._opened = open_stored(self._found, self.mode)

    def __repr__(self) -> str:
        return f"ZarrArray({self.name!r}, {self._found.where})"

    def __str__(self) -> str:
        return f"array {self.name!r} ({self._found.where})"

    @property
    def format(self) -> str:
        """Name of the format, such as ``zarr2``."""
        return self._found.format

    @property
    def mode(self) -> str:
        """Mode of opening: ``r`` to read, anything else to also write."""
        return self.config.mode or "a"

    @property
    def attrs(self) -> dict[str, Any]:
        """Copy of the stored attributes; :meth:`add_metadata` changes them."""
        return dict(self._attributes)

    @property
    def roi(self) -> Roi:
        return self._roi

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        """Shape of the chunks that are decoded as a whole."""
        if self._found.is_opened_by_zarr:
            return tuple(self._opened.chunks)
        return tuple(int(edge) for edge in self._opened.chunk_layout.read_chunk.shape)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of what is stored as one file: a chunk, or a shard of chunks."""
        if self._found.is_opened_by_zarr:
            return tuple(self._opened.chunks)
        return tuple(int(edge) for edge in self._opened.chunk_layout.write_chunk.shape)

    @property
    def writable(self) -> bool:
        return self.mode != "r" and self._found.is_writable

    @property
    def data(self) -> Any:
        """The opened array on disk; slicing reads voxels, in the byte order of the file.

        It covers the whole dataset, even if ``snap_to_grid`` made :attr:`roi` end earlier.
        """
        return self._opened

    def __getitem__(self, roi: Roi) -> np.ndarray[Any, Any]:
        """Read the values in a roi.

        Raises:
            RoiError: If the roi is not on the grid or extends outside.
            StorageError: If a chunk cannot be read, for example because it is damaged, or a link in its place leads
                nowhere; the message names it. Only a chunk that does not exist is read as the fill value.
        """
        index = self.slices(roi)
        check_readable(self, index, self._shape, self._dtype.itemsize)
        check_chunks(self._found, self._opened, index)
        values = self._cached.read(index)
        if values is not None:
            return values
        try:
            return self._read(index)
        except Exception as error:
            self._check_chunks(roi, index)
            raise StorageError(f"{self}: cannot read roi {roi}, a chunk may be damaged: {error}") from error

    def _read(self, index: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        return native(read_values(self._found, self._opened, index))

    def stored_chunks(self, roi: Roi) -> dict[tuple[int, ...], bool]:
        """Return for each chunk that overlaps a roi whether it is stored; others are read as the fill value.

        Returns:
            Whether it is stored, by the number of the chunk along each axis of the data.

        Raises:
            RoiError: If the roi is not on the grid or extends outside.
        """
        return stored_chunks(self._found, self._opened, self.slices(roi))

    def _check_chunks(self, roi: Roi, index: tuple[slice, ...]) -> None:
        """Raise an error that names the first unreadable chunk at an index; TensorStore does so itself."""
        if not self._found.is_opened_by_zarr:
            return
        for number, file in chunk_files(self._found, self._opened, index):
            whole = zip(number, self._opened.chunks, self._shape, strict=True)
            try:
                self._read(tuple(slice(i * n, min((i + 1) * n, size)) for i, n, size in whole))
            except Exception as error:
                raise DamagedFileError(f"{self}: cannot read roi {roi}, chunk {file} is damaged: {error}") from error

    def __setitem__(self, roi: Roi, value: Any) -> None:
        """Write values to a roi.

        Args:
            roi: In world units, on the voxel grid and inside :attr:`roi`.
            value: A number, or an array of the shape of the roi with all axes; it is cast to :attr:`dtype` as in
                numpy, so floats are truncated in an integer array.

        Raises:
            RoiError: If the roi is not on the grid or extends outside, or the value has a different shape.
            StorageError: If the array cannot be written.
        """
        index = self.slices(roi)
        if not self.writable:
            raise StorageError(f"{self} cannot be written: {self._read_only_reason()}")
        shape = tuple(len(range(*s.indices(n))) for s, n in zip(index, self._shape, strict=True))
        value = np.asarray(value)
        if value.ndim and value.shape != shape:
            raise RoiError(f"{self}: a value of shape {value.shape} does not fit roi {roi}, which has shape {shape}")
        try:
            check_chunks(self._found, self._opened, index)
            write_values(self._found, self._opened, index, value)
        except Exception as error:
            raise StorageError(f"{self}: cannot write roi {roi}: {error}") from error

    def _read_only_reason(self) -> str:
        if not self._found.is_writable:
            kind = f"as {self._found.format}" if is_writable_place(self.file_name) else "at a URL"
            return f"it is stored {kind}, which is read only"
        return "it was opened with mode 'r'"

    def add_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Write attributes beside the array; those of the same name are replaced, others stay.

        Raises:
            MetadataError: If the array's position in the world would contradict itself; nothing is written then.
            StorageError: If the array cannot be written.
        """
        if not self.writable:
            raise StorageError(f"{self} cannot be written: {self._read_only_reason()}")
        attributes = {**self._attributes, **metadata}
        found = dataclasses.replace(self._found, attributes=attributes)
        placed = metadata_of(found, self._shape, **self.config.place)
        try:
            if self._found.is_opened_by_zarr:
                self._opened.attrs.update(dict(metadata))
            else:
                update_attributes(self._found.path, lambda own: own.update(metadata))
        except (OSError, KeyError) as error:
            raise StorageError(f"{self}: cannot write attributes: {error.__cause__ or error}") from error
        self._found, self._metadata, self._attributes = found, placed, attributes
        self._roi = snapped(self, placed.roi(self._shape), self.snap_to_grid)

    @classmethod
    def open_from_array_identifier(
        cls, array_identifier: LocalArrayIdentifier, name: str = "", mode: str = "a"
    ) -> ZarrArray:
        """Open an existing array.

        Raises:
            ArrayNotFoundError: If it does not exist.
        """
        return cls(ZarrArrayConfig(name, array_identifier.container, array_identifier.dataset, mode=mode))

    @classmethod
    def create_from_array_identifier(
        cls,
        array_identifier: LocalArrayIdentifier,
        axes: Sequence[str],
        roi: Roi,
        num_channels: int | None,
        voxel_size: Coordinate,
        dtype: Any,
        mode: str = "a",
        write_size: Coordinate | None = None,
        name: str | None = None,
        overwrite: bool = False,
        world: World | None = None,
        *,
        attributes: Mapping[str, Any] | None = None,
    ) -> ZarrArray:
        """Create an array filled with zeros: of Zarr v2, or of Zarr v3 with shards in a container of Zarr v3.

        Args:
            array_identifier: Container and dataset; missing parent groups are created.
            axes: Names of the axes; ``c`` is dropped if ``num_channels`` is None.
            roi: Region to cover, in world units; a multiple of the voxel size.
            num_channels: Length of the axis ``c``; None for an array without it.
            voxel_size: In world units.
            dtype: Data type of the values.
            mode: ``r+``, ``a`` or ``w``: mode of the created array. None of them replaces anything.
            write_size: Extent of a single write, in world units; it determines the chunks, such that no two writes
                touch the same chunk. By default chunks have about a quarter of a million voxels.
            name: Name of the array, for messages.
            overwrite: Whether to replace an existing array.
            world: What roi and voxel size count: ``world`` of the array that this one is made from. Nanometers by
                default.
            attributes: More attributes, which the array has from its first moment on.

        Raises:
            OutputExistsError: If an array exists and ``overwrite`` is false, or a group with arrays.
            RoiError: If the roi is empty or not a multiple of the voxel size.
            ConfigError: If axes, channels and roi do not match.
            StorageError: If the folder, or URL, cannot be written.
        """
        kept = kept_axes(axis_names(axes), roi, num_channels, voxel_size)
        if mode not in MODES[1:]:
            raise ConfigError(f"cannot create an array with mode {mode!r}; expected one of {', '.join(MODES[1:])}")
        container, dataset = Path(array_identifier.container), dataset_name(array_identifier.dataset)
        check_target(container, dataset, overwrite)
        counts = iter(roi.shape / voxel_size)
        shape = [num_channels or 0 if axis == "c" else 1 if axis == "b" else int(next(counts)) for axis in kept]
        kind = plain_dtype(dtype)
        counted = World(("nm",) * roi.dims) if world is None else world
        metadata = ArrayMetadata.of_world(kept, voxel_size, roi.offset, counted)
        chunks = chunk_shape(shape, kept, kind.itemsize, None if write_size is None else write_size / voxel_size)
        forget_image(container, dataset)
        everything = {**metadata.as_attributes(), **(attributes or {})}
        create_files(container, dataset, shape, chunks, kind, kept, everything)
        return cls(ZarrArrayConfig(name or dataset, container, array_identifier.dataset, mode=mode))


@attrs.define
class ZarrArrayConfig(ArrayConfig):
    """Config of an array on disk."""

    array_type: ClassVar[type[ZarrArray]] = ZarrArray
    is_as_stored: ClassVar[bool] = True

    file_name: Path = field("Container: a folder in Zarr or N5 format.", converter=user_path)
    dataset: str = field("Path of the array inside the container.")
    snap_to_grid: Coordinate | None = field(
        "Move the array to the next multiple of this, in world units, and crop it to end on one; for data whose offset "
        "is a fraction of a voxel off the grid of the other arrays.",
        default=None,
        converter=optional_coordinate,
    )
    _axes: list[str] | None = field("Names of the axes, instead of those in the file.", default=None)
    mode: str | None = field(
        "r to read only; r+, a or w to also write. An existing array is never replaced.", default="a"
    )
    voxel_size: list[float] | None = field(
        "Size of a voxel, in the unit of the file, instead of that in the file.",
        default=None,
        converter=optional_numbers,
    )
    offset: list[float] | None = field(
        "Corner of the first voxel, in the unit of the file, instead of that in the file.",
        default=None,
        converter=optional_numbers,
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

    @property
    def place(self) -> dict[str, Any]:
        """The fields that replace metadata of the file, as :func:`.placement.metadata_from` takes them."""
        names = ("axes", "voxel_size", "offset", "world_unit", "unit")
        return {name: value for name, value in overrides_of(self).items() if name in names}

    def counted_in(self, unit: str) -> ZarrArrayConfig:
        return recounted(self, unit)

    def stated_metadata(self) -> frozenset[str]:
        """Return which of ``axes``, ``voxel_size``, ``offset`` and ``unit`` the file itself states."""
        return stated_metadata(find_array(self.file_name, self.dataset))

    def verify(self) -> tuple[bool, str]:
        """Check that container and dataset exist with valid metadata. Reads no voxels."""
        try:
            find_array(self.file_name, self.dataset)
        except ArrayNotFoundError as error:
            return False, f"{'dataset' if is_url(self.file_name) or self.file_name.exists() else 'file_name'}: {error}"
        except DacapoError as error:
            return False, str(error)
        return ArrayConfig.verify(self)
