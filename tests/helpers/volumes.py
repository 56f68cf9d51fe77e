"""Small volumes, made up and written to disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier

VOXEL_SIZE = Coordinate(8, 4, 4)
OFFSET = Coordinate(80, 40, 40)


def write_array(
    path: Path, dataset: str, values: np.ndarray, voxel_size: Coordinate = VOXEL_SIZE, offset: Coordinate = OFFSET
) -> LocalArrayIdentifier:
    """Write values as a Zarr dataset; a leading axis beyond those of the voxel size is the channel axis."""
    identifier = LocalArrayIdentifier(path, dataset)
    channels = values.shape[0] if values.ndim > voxel_size.dims else None
    axes = ["c", "z", "y", "x"][-values.ndim :] if channels is None else ["c", *["z", "y", "x"][-voxel_size.dims :]]
    shape = Coordinate(values.shape[-voxel_size.dims :])
    array = ZarrArray.create_from_array_identifier(
        identifier, axes, Roi(offset, shape * voxel_size), channels, voxel_size, values.dtype
    )
    array[array.roi] = values
    return identifier


def stored_values(identifier: LocalArrayIdentifier) -> np.ndarray:
    """Return all values of an array on disk."""
    array = ZarrArray.open_from_array_identifier(identifier, mode="r")
    return array[array.roi]


def cells(shape: tuple[int, ...], seed: int = 0, size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return raw data (uint8, dark borders) and labels (uint32) of random blocky cells."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, dtype=np.uint32)
    points = np.stack([rng.integers(0, s, max(4, int(np.prod(shape) / size ** len(shape)))) for s in shape], axis=1)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    nearest = np.full(shape, np.inf)
    for label, point in enumerate(points, start=1):
        distance = ((grid - point) ** 2).sum(axis=-1)
        labels[distance < nearest] = label
        nearest = np.minimum(nearest, distance)
    border = np.zeros(shape, dtype=bool)
    for axis in range(len(shape)):
        border |= np.roll(labels, 1, axis) != labels
    raw = np.where(border, 60, 190) + rng.normal(0, 12, shape)
    return raw.clip(0, 255).astype(np.uint8), labels


def new_volume(folder: Path) -> LocalArrayIdentifier:
    """Write raw data that no run in two dimensions was trained on."""
    raw, _ = cells((41, 44), seed=7)
    return write_array(folder / "new.zarr", "raw", raw, Coordinate(4, 4), Coordinate(40, 40))
