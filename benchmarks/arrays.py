"""Volumes as arrays of the package, in memory and on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.datasplits.datasets.arrays import NumpyArray, ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier

from .data import VOXEL_SIZE


def in_memory(values: npt.NDArray[Any], voxel_size: Coordinate = VOXEL_SIZE) -> NumpyArray:
    """Return spatial values as an array of the package."""
    roi = Roi((0,) * values.ndim, Coordinate(values.shape) * voxel_size)
    return NumpyArray.from_np_array(values, roi, voxel_size, ["z", "y", "x"])


def on_disk(
    folder: Path, dataset: str, values: npt.NDArray[Any], chunk: int = 64, attributes: dict[str, Any] | None = None
) -> LocalArrayIdentifier:
    """Write values as a Zarr dataset; a fourth axis, in front, is that of channels."""
    identifier = LocalArrayIdentifier(folder / "data.zarr", dataset)
    array = ZarrArray.create_from_array_identifier(
        identifier,
        ["c", "z", "y", "x"],
        Roi((0, 0, 0), Coordinate(values.shape[-3:]) * VOXEL_SIZE),
        values.shape[0] if values.ndim == 4 else None,
        VOXEL_SIZE,
        values.dtype,
        write_size=Coordinate((chunk,) * 3) * VOXEL_SIZE,
    )
    array[array.roi] = values
    array.add_metadata(attributes or {})
    return identifier
