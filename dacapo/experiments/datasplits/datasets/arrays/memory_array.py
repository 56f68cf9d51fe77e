"""An array whose values are given in memory, with a config that can be part of a run."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ArrayNotFoundError, DtypeError
from dacapo.experiments.config import field
from dacapo.utils.byte_order import native, native_dtype

from .array import ArrayConfig
from .metadata import Candidates
from .metadata_array import MetadataArray, snapped
from .overrides import optional_coordinate, optional_numbers, recounted
from .placement import metadata_from

_values: dict[str, Any] = {}
"""The values that were given in this process, by their digest."""


class MemoryArray(MetadataArray):
    """An array in memory, read only."""

    def __init__(self, array_config: MemoryArrayConfig) -> None:
        """Look up the values.

        Raises:
            ArrayNotFoundError: If they were not given in this process.
            MetadataError: If axes, voxel size and offset do not match them.
        """
        self.config = array_config
        self.name = array_config.name
        if array_config.digest not in _values:
            raise ArrayNotFoundError(
                f"the values of array {self.name!r} were in the memory of another process; give them again, by "
                "MemoryArrayConfig.of, or write them to a file"
            )
        self._data = _values[array_config.digest]
        self._shape, self._dtype = self._data.shape, native_dtype(self._data.dtype)
        found = Candidates(axes=[("axes", list(array_config.axes))])
        if array_config.unit:
            found.units.append(("unit", [array_config.unit] * len(array_config.voxel_size)))
        config = array_config
        self._metadata = metadata_from(
            str(self), self._shape, found, config.axes, config.voxel_size, config.offset, config.world_unit
        )
        self._roi = snapped(self, self._metadata.roi(self._shape), config.snap_to_grid)

    def __str__(self) -> str:
        return f"array {self.name!r} in memory"

    @property
    def attrs(self) -> dict[str, Any]:
        """Always empty."""
        return {}

    @property
    def roi(self) -> Roi:
        return self._roi

    @property
    def is_stored(self) -> bool:
        return False

    @property
    def writable(self) -> bool:
        """Always false."""
        return False

    @property
    def data(self) -> Any:
        """The values, which must not be changed."""
        return self._data


@attrs.define
class MemoryArrayConfig(ArrayConfig):
    """Config of an array in memory; made by :meth:`of`.

    It identifies the values by their digest. In another process, :meth:`of` has to be called with the same values
    before a run that was stored can use them.
    """

    array_type: ClassVar[type[MemoryArray]] = MemoryArray
    is_as_stored: ClassVar[bool] = True

    digest: str = field("Digest of the values.")
    axes: list[str] = field("Names of the axes.")
    voxel_size: list[float] = field("Size of a voxel, in the unit.", converter=optional_numbers)
    offset: list[float] = field("Corner of the first voxel, in the unit.", converter=optional_numbers)
    unit: str = field("Unit of voxel size and offset; empty for pixels.", default="")
    snap_to_grid: Coordinate | None = field(
        "Move the array to the next multiple of this, in world units, and crop it to end on one.",
        default=None,
        converter=optional_coordinate,
    )
    world_unit: str | None = field("Count world units in this unit, such as '0.01 nm'.", default=None)

    @classmethod
    def of(
        cls,
        values: np.ndarray[Any, Any],
        name: str,
        axes: Sequence[str],
        voxel_size: Sequence[float],
        offset: Sequence[float] | None = None,
        unit: str = "",
    ) -> MemoryArrayConfig:
        """Return the config of a numpy array. The values are copied.

        Args:
            values: Numbers.
            name: Name of the array, for messages.
            axes: Names of the axes.
            voxel_size: In the unit, per spatial axis.
            offset: Corner of the first voxel, in the unit; 0 by default.
            unit: Such as ``nm``; pixels by default.

        Raises:
            DtypeError: If the values are no numbers.
        """
        _check_numbers(values, name)
        kept = np.ascontiguousarray(native(values))
        if kept is values or kept.base is not None:
            kept = kept.copy()  # its owner may change the values
        kept.flags.writeable = False
        digest = hashlib.blake2b(f"{kept.dtype} {kept.shape} ".encode(), digest_size=16)
        digest.update(kept.data)
        _values[digest.hexdigest()] = kept
        return cls._placed(name, digest.hexdigest(), axes, voxel_size, offset, unit)

    @classmethod
    @contextmanager
    def lent(
        cls,
        values: Any,
        name: str,
        axes: Sequence[str],
        voxel_size: Sequence[float],
        offset: Sequence[float] | None = None,
        unit: str = "",
    ) -> Iterator[MemoryArrayConfig]:
        """Give values for the time of a ``with`` block only, without a copy; arrays that are built inside keep them.

        Args:
            values: Numbers, as anything with a shape and a data type that slicing makes a numpy array of, such as a
                dask array. Nobody may change them.
            name: As in :meth:`of`, like all others.
            axes: Names of the axes.
            voxel_size: In the unit, per spatial axis.
            offset: Corner of the first voxel, in the unit.
            unit: Such as ``nm``.

        Raises:
            DtypeError: If the values are no numbers.
        """
        _check_numbers(values, name)
        key = f"lent {secrets.token_hex(8)}"
        _values[key] = values
        try:
            yield cls._placed(name, key, axes, voxel_size, offset, unit)
        finally:
            del _values[key]

    @classmethod
    def _placed(
        cls,
        name: str,
        digest: str,
        axes: Sequence[str],
        voxel_size: Sequence[float],
        offset: Sequence[float] | None,
        unit: str,
    ) -> MemoryArrayConfig:
        begin = [0.0] * len(voxel_size) if offset is None else list(offset)
        return cls(name, digest, list(axes), list(voxel_size), begin, unit)

    def counted_in(self, unit: str) -> MemoryArrayConfig:
        return recounted(self, unit)


def _check_numbers(values: Any, name: str) -> None:
    if values.dtype.kind not in "biuf":
        raise DtypeError(f"array {name!r} holds {values.dtype}; expected numbers")
