"""An array on a DVID server."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import MetadataError, StorageError
from dacapo.experiments.config import field

from .array import ArrayConfig
from .axes import NON_SPATIAL_AXES
from .dvid_instance import DvidInstance
from .metadata import NANOMETERS, ArrayMetadata, Candidates, read_metadata
from .metadata_array import MetadataArray
from .viewing import neuroglancer_layer, require_neuroglancer
from .voxel_reader import VoxelReader

LABEL_TYPES = ("labelblk", "labelarray", "labelmap")
"""Types of instances that hold labels, which are 64 bits wide."""

VIEWED_TYPES = ("uint8blk", *LABEL_TYPES)
"""Types of instances that neuroglancer reads itself."""


class DVIDArray(MetadataArray):
    """A data instance of a `DVID <https://github.com/janelia-flyem/dvid>`_ server, read only.

    Images (``uint8blk`` and the like) and labels (``labelmap``, ``labelarray``, ``labelblk``) are read over HTTP on
    demand. The axes are z, y, x, followed by c if voxels have several values. The array covers the extents that the
    server states. World units are nanometers if the server states a unit for voxel sizes.

    A busy server is asked again a few times, and large regions are read in several requests.
    """

    def __init__(self, array_config: DVIDArrayConfig) -> None:
        """Request the metadata of the instance.

        Raises:
            ConfigError: If the source is not an address, a UUID and a name.
            ArrayNotFoundError: If the server does not have the version or the instance.
            MetadataError: If the instance holds no voxels yet, or no voxels of a supported kind.
            StorageError: If the server cannot be reached.
        """
        self.config = array_config
        self.name = array_config.name
        self._instance = DvidInstance.at(array_config.source)
        self._info = self._instance.info()
        extended = self._info.get("Extended")
        self._extended = extended if isinstance(extended, Mapping) else {}
        self._kind = str((self._info.get("Base") or {}).get("TypeName", ""))
        self._dtype, self._values_per_voxel = self._type_of_values()
        self._begin, end = self._extents()
        spatial = [e - b for b, e in zip(self._begin, end, strict=True)]
        several = self._values_per_voxel > 1
        self._shape = (*spatial, self._values_per_voxel) if several else tuple(spatial)
        self._metadata = self._place(["z", "y", "x", *(["c"] if several else [])], array_config.world_unit)
        self._block = self._stated("BlockSize", int) or [1, 1, 1]

    def __str__(self) -> str:
        return f"array {self.name!r} ({self._instance.url})"

    def __repr__(self) -> str:
        return f"DVIDArray({self.name!r}, {self._instance.url})"

    def _type_of_values(self) -> tuple[np.dtype[Any], int]:
        listed = self._extended.get("Values")
        values = listed if isinstance(listed, Sequence) and not isinstance(listed, str) else []
        kinds = {str(value.get("DataType")) for value in values if isinstance(value, Mapping)}
        if not kinds and self._kind in LABEL_TYPES:
            return np.dtype(np.uint64), 1
        if len(kinds) == 1:
            (name,) = kinds
            if name in {"float32", "float64"} or name.removeprefix("u") in {"int8", "int16", "int32", "int64"}:
                return np.dtype(name), len(values)
        raise MetadataError(
            f"{self}: a {self._kind or 'data instance'} whose values are {listed!r} has no voxels of one type of "
            "number; choose an instance of images or labels"
        )

    def _stated(self, key: str, kind: Any) -> list[Any] | None:
        """Return the server's entry for the three axes in the order z, y, x, or None if it is missing."""
        value = self._extended.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != 3 or not all(isinstance(entry, kind) for entry in value):
            raise MetadataError(f"{self}: {key} is {value!r}; expected one entry for each of x, y, z")
        return value[::-1]

    def _extents(self) -> tuple[list[int], list[int]]:
        begin, last = self._stated("MinPoint", int), self._stated("MaxPoint", int)
        if begin is None or last is None or any(b > e for b, e in zip(begin, last, strict=True)):
            raise MetadataError(
                f"{self}: its extents are {begin} to {last}, so it holds no voxels; upload some, or choose another"
            )
        return begin, [n + 1 for n in last]

    def _place(self, axes: list[str], world_unit: str | None) -> ArrayMetadata:
        found = Candidates(axes=[("axes of DVID", axes)], offset=[("offset", [0, 0, 0])])
        size, units = self._stated("VoxelSize", (int, float)), self._stated("VoxelUnits", str)
        known = [unit.lower().removesuffix("s") for unit in units or ["", "", ""]]
        if units is not None:
            found.units.append(("VoxelUnits", ["nm" if unit in NANOMETERS else unit for unit in known]))
        if size is not None:
            sizes = [n * NANOMETERS.get(unit, 1.0) for n, unit in zip(size, known, strict=True)]
            found.voxel_size.append(("VoxelSize", sizes))
        metadata = read_metadata(str(self), self._shape, found, None, world_unit)
        return dataclasses.replace(metadata, offset=Coordinate(self._begin) * metadata.voxel_size)

    @property
    def attrs(self) -> dict[str, Any]:
        """The server's metadata of the instance, unchanged: in the order x, y, z."""
        return dict(self._info)

    @property
    def roi(self) -> Roi:
        return self._metadata.roi(self._shape)

    @property
    def writable(self) -> bool:
        """Always false."""
        return False

    @property
    def data(self) -> VoxelReader:
        """All voxels; slicing reads from the server."""
        return VoxelReader(self)

    @property
    def _daisy_array(self) -> DVIDArray:
        """The array itself, which is read by rois."""
        return self

    def __getitem__(self, roi: Roi) -> np.ndarray[Any, Any]:
        """Read the values in a roi.

        Raises:
            RoiError: If the roi is not on the grid or extends outside.
            StorageError: If the server cannot be reached, or does not return these voxels.
        """
        index = self.slices(roi)
        spatial = [part for part, axis in zip(index, self.axes, strict=True) if axis not in NON_SPATIAL_AXES]
        begin = [part.start + first for part, first in zip(spatial, self._begin, strict=True)]
        end = [part.stop + first for part, first in zip(spatial, self._begin, strict=True)]
        try:
            values = self._instance.read(begin, end, self._dtype, self._values_per_voxel, self._block)
        except StorageError as error:
            raise StorageError(f"array {self.name!r}: cannot read roi {roi}: {error}") from error
        return values if self.channel_axis is not None else values[..., 0]

    def add_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Raise an error; servers are read only.

        Raises:
            StorageError: Always.
        """
        raise StorageError(f"{self} cannot be written: DVID servers are only read; {sorted(metadata)} is not stored")

    def _neuroglancer_source(self) -> Any:
        """Return the address by which neuroglancer reads the instance itself, or a local volume if it cannot."""
        if self._kind not in VIEWED_TYPES:
            return self.neuroglancer_source()
        return f"dvid://{self._instance.server}/{self._instance.uuid}/{self._instance.name}"

    def _neuroglancer_layer(self) -> Any:
        """Return a layer for a neuroglancer viewer, at the position of the array in the world.

        Raises:
            MissingDependencyError: If neuroglancer is not installed.
        """
        neuroglancer = require_neuroglancer()
        source = self._neuroglancer_source()
        if isinstance(source, str):
            dimensions = {axis: list(size) for axis, size in self._output_dimensions().items()}
            transform = {"matrix": self._transform_matrix(), "outputDimensions": dimensions}
            source = neuroglancer.LayerDataSource(url=source, transform=transform)
        return neuroglancer_layer(self, source)

    def _transform_matrix(self) -> list[list[float]]:
        """Return the position of neuroglancer's voxels x, y, z in the world: DVID's origin."""
        return [[float(row == column) for column in range(4)] for row in range(3)]

    def _output_dimensions(self) -> dict[str, tuple[float, str]]:
        """Return the size of a voxel in meters and its unit, for x, y and z."""
        sizes = reversed(self.world.in_nanometers(self.voxel_size))
        return {axis: (size * 1e-9, "m") for axis, size in zip("xyz", sizes, strict=True)}


@attrs.define
class DVIDArrayConfig(ArrayConfig):
    """Config of an array on a DVID server."""

    array_type: ClassVar[type[DVIDArray]] = DVIDArray
    is_as_stored: ClassVar[bool] = True

    source: tuple[str, str, str] = field(
        "Address of the DVID server (http unless it begins with https://), UUID of the version, and name of the data "
        "instance."
    )
    world_unit: str | None = field(
        "Count world units in this unit, such as '0.01 nm'; by default in nanometers, or in the largest part of one "
        "that makes the voxel size an integer.",
        default=None,
        kw_only=True,
    )

    def counted_in(self, unit: str) -> DVIDArrayConfig:
        return attrs.evolve(self, world_unit=unit)

    def verify(self) -> tuple[bool, str]:
        """Check that the server has the instance with valid metadata. Reads no voxels."""
        works, why = ArrayConfig.verify(self)
        return works, why if works or why.startswith("source") else f"source: {why}"
