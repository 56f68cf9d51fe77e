"""Formats that arrays are converted to: how a file is created, written in blocks, and finished."""

from __future__ import annotations

import io
import json
import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.ext import optional_module
from dacapo.store.files import allocate, is_file, write_text
from dacapo.store.whole_changes import replace_file, whole_changes
from dacapo.utils.exact_numbers import plain_number

from .layout import Layout
from .tensorstore_files import open_files, write_files

_SYMBOLS = {
    "angstrom": "Å",
    "nanometer": "nm",
    "micrometer": "µm",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
}
_SHORT = {"nanometer": "nm", "micrometer": "um", "millimeter": "mm"}


class Writer(ABC):
    """Writes an array to a file or folder.

    Attributes:
        suffixes: Ends of names that mean this format.
        holds_datasets: Whether a file or folder holds several arrays, with names.
        is_container: Whether an array is a folder in a container, rather than all of what is written.
        alone: Whether only one process can write at a time.
        has_levels: Whether an image has smaller levels, which are written by their names as datasets.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    holds_datasets: ClassVar[bool] = True
    is_container: ClassVar[bool] = False
    alone: ClassVar[bool] = False
    has_levels: ClassVar[bool] = False

    def __init__(self, path: Path, dataset: str, layout: Layout) -> None:
        """Set what to write.

        Args:
            path: The file, or the folder of the array itself.
            dataset: Name of the array inside a file.
            layout: The array.
        """
        self.path, self.dataset, self.layout = path, dataset, layout

    @classmethod  # noqa: B027
    def prepare(cls, container: Path) -> None:  # most formats need nothing
        """Prepare the container, before anything is created."""

    @classmethod
    def block_shape(cls, layout: Layout) -> Coordinate:
        """Return the extent of a block in world coordinates, such that no two blocks write to the same place."""
        return layout.block_shape

    @classmethod
    def can_hold(cls, layout: Layout) -> bool:
        """Return whether the format can say where an array begins."""
        return True

    @abstractmethod
    def create(self) -> None:
        """Create the array, filled with zeros."""
        raise NotImplementedError

    @abstractmethod
    def write(self, index: tuple[slice, ...], values: npt.NDArray[Any]) -> None:
        """Write a block."""
        raise NotImplementedError

    def finish(self) -> None:  # noqa: B027  # most formats need nothing
        """Complete the array after the last block."""


class N5Writer(Writer):
    """N5, compressed by gzip."""

    suffixes = (".n5",)
    is_container = True
    _opened: Any = None

    @classmethod
    def prepare(cls, container: Path) -> None:
        """Mark the container as N5."""
        file = container / "attributes.json"
        if not is_file(file):
            write_text(file, json.dumps({"n5": "2.0.0"}))

    def create(self) -> None:
        layout = self.layout
        metadata = {
            "dimensions": list(layout.shape[::-1]),
            "blockSize": list(layout.chunks[::-1]),
            "dataType": "uint8" if layout.dtype == np.bool_ else layout.dtype.name,
            "compression": {"type": "gzip", "level": 1},
        }
        open_files("n5", self.path, {"metadata": metadata}, create=True)

    def write(self, index: tuple[slice, ...], values: npt.NDArray[Any]) -> None:
        if self._opened is None:
            # N5 lists its axes from the fastest to the slowest.
            self._opened = open_files("n5", self.path, {}, open=True).T
        stored = values.astype(np.uint8) if values.dtype == np.bool_ else values
        write_files(self.path, self._opened[index], stored)

    def finish(self) -> None:
        """Add the attributes, whose lists N5 has in the order of its axes, with an entry for the channels too."""
        layout, world = self.layout, self.layout.world
        leading = len(layout.axes) - len(layout.voxel_size)
        attributes: dict[str, Any] = {"axes": layout.axes[::-1]}
        size, corner = ([plain_number(n) for n in world.in_shown(n)] for n in (layout.voxel_size, layout.roi.offset))
        units = [_SHORT.get(unit, unit) for unit in world.shown]
        for key, values, other in (("resolution", size, 1), ("offset", corner, 0), ("units", units, "")):
            attributes[key] = [*[other] * leading, *values][::-1]
        file = self.path / "attributes.json"
        write_text(file, json.dumps({**json.loads(file.read_text()), **attributes}))


class HDF5Writer(Writer):
    """An HDF5 file, compressed by gzip."""

    suffixes = (".h5", ".hdf5", ".hdf")
    alone = True

    def _file(self, content: Any, mode: str) -> Any:
        return optional_module("h5py", "HDF5 files are written by h5py").File(content, mode)

    def create(self) -> None:
        layout, content = self.layout, io.BytesIO()
        with self._file(content, "w") as file:
            array = file.create_dataset(
                self.dataset, layout.shape, layout.dtype, chunks=layout.chunks, compression="gzip", compression_opts=1
            )
            array.attrs.update(layout.attributes)
        replace_file(self.path, content.getvalue())

    def write(self, index: tuple[slice, ...], values: npt.NDArray[Any]) -> None:
        # Where a write fails, the library may crash the process, and a process that stops in mid write breaks the file.
        with whole_changes(self.path) as content, self._file(content, "r+") as file:
            file[self.dataset][index] = values


class TiffWriter(Writer):
    """A TIFF file without compression, with OME metadata."""

    suffixes = (".tif", ".tiff")
    holds_datasets = False

    def create(self) -> None:
        import tifffile

        axes = "".join(self.layout.axes).upper()
        if axes not in ("YX", "ZYX", "CYX", "CZYX"):
            raise ConfigError(f"TIFF holds planes of y and x, one for each z and c; got the axes {self.layout.axes}")
        tifffile.memmap(
            self.path,
            shape=self.layout.shape,
            dtype=np.uint8 if self.layout.dtype == np.bool_ else self.layout.dtype,
            bigtiff=True,
            ome=True,
            photometric="minisblack",
            metadata={"axes": axes, **self._sizes()},
        ).flush()
        allocate(self.path)

    def _sizes(self) -> dict[str, Any]:
        """Return voxel size and unit of each axis, and the corner of each plane."""
        layout, world = self.layout, self.layout.world
        spatial = layout.axes[-len(layout.voxel_size) :]
        sizes, corner = (world.in_shown(values) for values in (layout.voxel_size, layout.roi.offset))
        planes = math.prod(layout.shape[:-2])
        said: dict[str, Any] = {}
        positions: dict[str, list[Any]] = {}
        for axis, size, begin, unit in zip(spatial, sizes, corner, world.shown, strict=True):
            symbol = _SYMBOLS.get(unit, unit or "pixel")
            said |= {f"PhysicalSize{axis.upper()}": float(size), f"PhysicalSize{axis.upper()}Unit": symbol}
            depth = layout.shape[-3] if axis == "z" else 1
            positions[f"Position{axis.upper()}"] = [float(begin + size * (plane % depth)) for plane in range(planes)]
            positions[f"Position{axis.upper()}Unit"] = [symbol] * planes
        return {**said, "Plane": positions}

    def write(self, index: tuple[slice, ...], values: npt.NDArray[Any]) -> None:
        import tifffile

        mapped: Any = tifffile.memmap(self.path, mode="r+")
        mapped.reshape(self.layout.shape)[index] = values
        mapped.flush()
