"""The formats beside Zarr that arrays are converted to, by name."""

from __future__ import annotations

from .planes_writer import PngWriter, TiffPlanesWriter
from .precomputed_writer import PrecomputedWriter
from .writers import HDF5Writer, N5Writer, TiffWriter, Writer

WRITERS: dict[str, type[Writer]] = {
    "n5": N5Writer,
    "tiff": TiffWriter,
    "hdf5": HDF5Writer,
    "precomputed": PrecomputedWriter,
    "png": PngWriter,
    "tiff-planes": TiffPlanesWriter,
}
