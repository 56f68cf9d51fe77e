"""Batches on disk, to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dacapo.experiments.datasplits.datasets.arrays.metadata import ArrayMetadata
from dacapo.experiments.datasplits.datasets.arrays.zarr_files import create_zarr2

if TYPE_CHECKING:
    from funlib.geometry import Coordinate, Roi

    from dacapo.experiments.datasplits.datasets.arrays.world import World
    from dacapo.store.array_store import LocalContainerIdentifier

    from .regions import SampleRegions
    from .weighting import TrainingBatch


def write_snapshot(
    container: LocalContainerIdentifier, batch: TrainingBatch, prediction: np.ndarray, regions: SampleRegions
) -> None:
    """Write all arrays of a batch to ``<iteration>/raw``, ``gt``, ``target``, ``weight``, ``mask`` and ``prediction``.

    Axes are batch, channel (where there are any), space. Offsets are relative to the input of the network, since
    samples come from many places and may be deformed. A snapshot of the same iteration is replaced.

    Args:
        container: The Zarr container to write to.
        batch: What the iteration trained on.
        prediction: What the network made of it, before the weights were changed.
        regions: Where its arrays lie.
    """
    arrays = {
        "target": batch.target,
        "weight": batch.weight,
        "prediction": prediction,
        "gt": batch.gt,
        "mask": batch.mask,
    }
    _write(container, f"{batch.iteration}/raw", batch.raw, regions.raw_roi, regions.voxel_size, regions.world)
    for name, data in arrays.items():
        if data is not None:
            place = regions.target_roi, regions.target_voxel_size, regions.world
            _write(container, f"{batch.iteration}/{name}", data, *place)


def _write(
    container: LocalContainerIdentifier, dataset: str, data: np.ndarray, roi: Roi, voxel_size: Coordinate, world: World
) -> None:
    leading = ["b", "c"][: data.ndim - roi.dims]
    spatial = ["z", "y", "x"][-roi.dims :]
    metadata = ArrayMetadata.of_world([*leading, *spatial], voxel_size, roi.offset, world)
    chunks = (1, *data.shape[1:])
    created = create_zarr2(container.container, dataset, data.shape, chunks, data.dtype, metadata.as_attributes())
    created[...] = data
