"""Describe the arrays of a file or container."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dacapo.errors import ArrayNotFoundError, DacapoError, MetadataWarning
from dacapo.experiments.datasplits.datasets.arrays import open_array
from dacapo.experiments.datasplits.datasets.arrays.listing import arrays_in, images_in
from dacapo.experiments.datasplits.datasets.arrays.voxel_reader import VoxelReader
from dacapo.utils.paths import shown
from dacapo.utils.text_table import text_table


@attrs.frozen
class ArrayInfo:
    """Metadata of an array.

    Attributes:
        dataset: Name inside the container; empty for a file of a single array.
        format: Such as ``zarr2``.
        axes: Names of the axes.
        shape: Number of values along each axis.
        chunks: Shape of chunks; None if there are none.
        dtype: Type of the values.
        voxel_size: In units, per spatial axis.
        offset: Corner of the first voxel, in units.
        units: Per spatial axis; empty if unknown.
        notes: Assumptions about missing metadata.
        problem: The error, if the array cannot be opened; all else is unknown then.
    """

    dataset: str
    format: str = ""
    axes: Sequence[str] = ()
    shape: Sequence[int] = ()
    chunks: Sequence[int] | None = None
    dtype: str = ""
    voxel_size: Sequence[int | float] = ()
    offset: Sequence[int | float] = ()
    units: Sequence[str] = ()
    notes: Sequence[str] = ()
    problem: str | None = None


@attrs.frozen
class Info:
    """The arrays of a file or container.

    Attributes:
        path: The file or container.
        arrays: The arrays.
        levels: For each image with several levels, its group and the names of the levels, the finest first.
    """

    path: Path
    arrays: list[ArrayInfo]
    levels: Mapping[str, list[str]]

    def as_plain(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        arrays = [attrs.asdict(array) for array in self.arrays]
        return {"path": shown(self.path), "arrays": arrays, "levels": dict(self.levels)}

    def __str__(self) -> str:
        """Return a table of the arrays, and a line for each image, note and problem."""
        header = ["dataset", "format", "axes", "shape", "chunks", "type", "voxel size", "offset", "unit"]
        rows = [_row(array) for array in self.arrays if array.problem is None]
        lines = [shown(self.path), *([text_table(header, rows)] if rows else [])]
        lines += [f"image {group or '.'}: levels {', '.join(names)}" for group, names in self.levels.items()]
        lines += [f"note: {note}" for array in self.arrays for note in array.notes]
        lines += [f"cannot open {array.dataset}: {array.problem}" for array in self.arrays if array.problem is not None]
        return "\n".join(lines)


def info(path: Path | str, dataset: str | None = None) -> Info:
    """Describe the arrays of a file or container, or the one that a path names. Reads no voxels.

    Args:
        path: File, container, or the path of a group or dataset inside a container.
        dataset: Group or dataset inside the container.

    Raises:
        ArrayNotFoundError: If it does not exist, or holds no arrays.
    """
    container, names = arrays_in(path, dataset)
    if not names:
        raise ArrayNotFoundError(f"{shown(container)} holds no arrays")
    return Info(container, [_describe(container, name) for name in names], dict(images_in(container, names)))


def _describe(container: Path, dataset: str) -> ArrayInfo:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MetadataWarning)
        try:
            array = open_array(container, dataset)
        except DacapoError as error:
            return ArrayInfo(dataset, problem=str(error))
    notes = [str(warning.message) for warning in caught if issubclass(warning.category, MetadataWarning)]
    return ArrayInfo(
        dataset=dataset,
        format=str(getattr(array, "format", type(array).__name__.removesuffix("Array").lower())),
        axes=list(array.axes),
        shape=list(VoxelReader(array).shape),
        chunks=array.chunk_shape and list(array.chunk_shape),
        dtype=str(array.dtype),
        voxel_size=list(array.spacing),
        offset=list(array.world.in_units(array.roi.offset)),
        units=list(array.units),
        notes=notes,
    )


def _row(array: ArrayInfo) -> list[str]:
    def listed(values: Sequence[Any] | None) -> str:
        return "-" if values is None else " ".join(map(str, values)) or "-"

    unit = next(iter(set(array.units))) if len(set(array.units)) == 1 else listed(array.units)
    numbers = (array.shape, array.chunks, array.voxel_size, array.offset)
    shape, chunks, voxel_size, offset = map(listed, numbers)
    place = [shape, chunks, array.dtype, voxel_size, offset, unit or "-"]
    return [array.dataset or ".", array.format, listed(array.axes), *place]
