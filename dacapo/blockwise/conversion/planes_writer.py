"""Writing a folder of images, one for each plane."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError

from .layout import Layout
from .writers import Writer

_BLOCK_BYTES = 2**28


class PlanesWriter(Writer):
    """A folder of images that are numbered along z. They hold no voxel size and no offset.

    Attributes:
        end: End of the names.
        types: Types that the format holds; all without any.
    """

    end: ClassVar[str]
    types: ClassVar[tuple[str, ...]] = ()
    holds_datasets = False

    @classmethod
    def block_shape(cls, layout: Layout) -> Coordinate:
        """Return the extent of as many planes as a chunk has, or as fit into the memory of a block."""
        plane = layout.shape[-2] * layout.shape[-1] * layout.dtype.itemsize
        depth = max(1, min(layout.chunks[0], _BLOCK_BYTES // plane))
        return Coordinate(*(depth * size for size in layout.voxel_size[:-2]), *layout.roi.shape[-2:])

    def create(self) -> None:
        layout = self.layout
        if layout.axes not in (["y", "x"], ["z", "y", "x"]):
            raise ConfigError(f"a folder of images holds planes of y and x along z, not the axes {layout.axes}; select")
        if self.types and self._stored(np.zeros(1, layout.dtype)).dtype.name not in self.types:
            raise ConfigError(f"{self.end} holds {' or '.join(self.types)}, not {layout.dtype}; choose planes of TIFF")
        self.path.mkdir(parents=True, exist_ok=True)

    def write(self, index: tuple[slice, ...], values: npt.NDArray[Any]) -> None:
        first = index[0].start if len(index) == 3 else 0
        digits = max(4, len(str(self.layout.shape[0] - 1)))
        for number, plane in enumerate(self._stored(values).reshape(-1, *values.shape[-2:]), start=first):
            self._write_plane(self.path / f"{number:0{digits}}{self.end}", plane)

    def _stored(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return values.astype(np.uint8) if values.dtype == np.bool_ else values

    @abstractmethod
    def _write_plane(self, path: Path, plane: npt.NDArray[Any]) -> None:
        """Write one image."""
        raise NotImplementedError


class PngWriter(PlanesWriter):
    """A folder of PNG images."""

    end = ".png"
    types = ("uint8", "uint16")

    def _write_plane(self, path: Path, plane: npt.NDArray[Any]) -> None:
        import imageio.v3

        imageio.v3.imwrite(path, plane)


class TiffPlanesWriter(PlanesWriter):
    """A folder of TIFF images, compressed without loss."""

    end = ".tif"

    def _write_plane(self, path: Path, plane: npt.NDArray[Any]) -> None:
        import tifffile

        tifffile.imwrite(path, plane, compression="zlib")
