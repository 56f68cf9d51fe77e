"""An array on disk: Zarr v2 and v3 to read and write, N5 to read."""

from __future__ import annotations

import dataclasses
import math
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
    DtypeError,
    MetadataError,
    OutputExistsError,
    RoiError,
    StorageError,
)
from dacapo.experiments.config import field
from dacapo.utils.byte_order import native
from dacapo.utils.paths import is_url, shown, user_path

from .array import ArrayConfig
from .axes import CHUNK_EDGE, NON_SPATIAL_AXES, axis_names, spatial_axes_of
from .chunk_cache import CachedReader
from .containers import (
    dataset_name,
    find_array,
    group_attributes,
    is_array,
    metadata_of,
    numpy_dtype,
    open_stored,
    read_checked,
    read_tensorstore,
    stated_metadata,
    write_tensorstore,
)
from .foreign import check_readable, metadata_errors
from .metadata import ArrayMetadata
from .metadata_array import MetadataArray, snapped
from .ome_images import forget_image
from .overrides import optional_coordinate, optional_numbers, overrides_of, recounted
from .places import has_group
from .remote_files import check_writable_place, is_writable_place
from .remote_zarr import create_remote_zarr2
from .stored_chunks import check_chunks, chunk_files, stored_chunks
from .world import World
from .zarr3_files import create_zarr3, is_zarr3_group, update_attributes
from .zarr_files import create_zarr2

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier

MODES = ("r", "r+", "a", "w")
MAX_CHUNK_BYTES = 256 * 2**20
"""Larger chunks are split. Compressors are limited to 2 GiB, and a reader holds a whole chunk in memory."""


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
        is_checked = self._found.is_opened_by_zarr
        return native(read_checked(self._opened, index) if is_checked else read_tensorstore(self._opened, index))

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
        check_chunks(self._found, self._opened, index)
        try:
            if self._found.is_opened_by_zarr:
                self._opened[index] = value if value.ndim else value[()]
            else:
                write_tensorstore(self._opened, index, value.astype(self._dtype, copy=False))
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

        Raises:
            OutputExistsError: If an array exists and ``overwrite`` is false, or a group with arrays.
            RoiError: If the roi is empty or not a multiple of the voxel size.
            ConfigError: If axes, channels and roi do not match.
            StorageError: If the folder, or URL, cannot be written.
        """
        kept = _check_axes(axis_names(axes), roi, num_channels, voxel_size)
        if mode not in MODES[1:]:
            raise ConfigError(f"cannot create an array with mode {mode!r}; expected one of {', '.join(MODES[1:])}")
        container, dataset = Path(array_identifier.container), dataset_name(array_identifier.dataset)
        _check_target(container, dataset, overwrite)
        counts = iter(roi.shape / voxel_size)
        shape = [num_channels or 0 if axis == "c" else 1 if axis == "b" else int(next(counts)) for axis in kept]
        kind = _plain_dtype(dtype)
        counted = World(("nm",) * roi.dims) if world is None else world
        metadata = ArrayMetadata.of_world(kept, voxel_size, roi.offset, counted)
        chunks = chunk_shape(shape, kept, kind.itemsize, None if write_size is None else write_size / voxel_size)
        forget_image(container, dataset)
        _create(container, dataset, shape, chunks, kind, kept, metadata.as_attributes())
        return cls(ZarrArrayConfig(name or dataset, container, array_identifier.dataset, mode=mode))


def _check_axes(axes: Sequence[str], roi: Roi, num_channels: int | None, voxel_size: Coordinate) -> list[str]:
    kept = [axis for axis in axes if axis != "c" or num_channels is not None]
    if num_channels is not None and (num_channels < 1 or "c" not in kept):
        raise ConfigError(f"{num_channels} channels requested with axes {list(axes)}; expected a 'c' and at least one")
    dims = len(spatial_axes_of(kept))
    if roi.dims != dims or len(voxel_size) != dims:
        raise ConfigError(f"axes {list(axes)} have {dims} spatial ones, but roi is {roi}, voxel size {voxel_size}")
    if min(voxel_size) <= 0:
        raise MetadataError(f"voxel size is {voxel_size}; expected positive numbers")
    if None in roi.shape or min(roi.shape) <= 0 or any(roi.shape % voxel_size):
        raise RoiError(f"cannot create an array for roi {roi}; expected a positive multiple of voxel size {voxel_size}")
    return kept


def _plain_dtype(dtype: Any) -> np.dtype[Any]:
    kind: np.dtype[Any] = np.dtype(dtype)
    if kind.kind not in "biufc":
        raise DtypeError(f"cannot create an array of data type {kind}; expected a numeric one")
    return kind


def _check_target(container: Path, dataset: str, overwrite: bool) -> None:
    """Raise an error if creating the array would destroy other data."""
    target = container / dataset
    check_writable_place(container)
    if group_attributes(container).get("n5"):
        raise StorageError(
            f"{shown(container)} is N5, not a Zarr v2 container or one of v3, the only kinds written; name another"
        )
    parts = dataset.split("/") if dataset else []
    for depth in range(len(parts)):
        parent = container.joinpath(*parts[:depth])
        if is_array(parent):
            raise OutputExistsError(
                f"cannot create {shown(target)}: {shown(parent)} is an array, which cannot hold other arrays"
            )
    if is_array(target):
        if not overwrite:
            raise OutputExistsError(f"{shown(target)} exists; allow overwriting it, or choose another dataset")
    elif dataset and has_group(target):
        raise OutputExistsError(f"{shown(target)} is a nonempty group; an array cannot replace it")


def chunk_shape(
    shape: Sequence[int], axes: Sequence[str], itemsize: int, write_shape: Sequence[int] | None
) -> tuple[int, ...]:
    """Return the shape of chunks for an array that is written in blocks.

    Each block covers whole chunks if blocks start at multiples of their size: a chunk is one block with all its
    channels, or an equal fraction of it if that would be too large.

    Args:
        shape: Shape of the array, in voxels and channels.
        axes: Names of the axes.
        itemsize: Bytes per value.
        write_shape: Voxels per single write, per spatial axis; None for a default.
    """
    dims = len(spatial_axes_of(list(axes)))
    wanted = iter(write_shape if write_shape is not None else (CHUNK_EDGE.get(dims, 16),) * dims)
    chunks = [
        size if axis in NON_SPATIAL_AXES else max(1, min(size, int(next(wanted))))
        for axis, size in zip(axes, shape, strict=True)
    ]
    spatial = [i for i, axis in enumerate(axes) if axis not in NON_SPATIAL_AXES]
    if math.prod(chunks) * itemsize > MAX_CHUNK_BYTES:
        chunks = [size if i in spatial else 1 for i, size in enumerate(chunks)]
    while math.prod(chunks) * itemsize > MAX_CHUNK_BYTES:
        even = [i for i in spatial if chunks[i] % 2 == 0]
        if not even:
            break
        largest = max(even, key=lambda i: chunks[i])
        chunks[largest] //= 2
    return tuple(chunks)


def _create(
    container: Path,
    dataset: str,
    shape: Sequence[int],
    chunks: Sequence[int],
    dtype: np.dtype[Any],
    axes: Sequence[str],
    attributes: Mapping[str, Any],
) -> None:
    try:
        if is_zarr3_group(container):
            create_zarr3(container, dataset, shape, chunks, dtype, axes, attributes)
        elif is_url(container):
            create_remote_zarr2(container, dataset, shape, chunks, dtype, attributes)
        else:
            create_zarr2(container, dataset, shape, chunks, dtype, attributes)
    except (OSError, KeyError, ValueError) as error:
        raise StorageError(f"cannot create {shown(container / dataset)}: {error.__cause__ or error}") from error


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
