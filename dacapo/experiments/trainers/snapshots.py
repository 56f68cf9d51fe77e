"""Snapshots: batches on disk, to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dacapo.experiments.datasplits.datasets.arrays.metadata import ArrayMetadata
from dacapo.experiments.datasplits.datasets.arrays.zarr_files import create_zarr2

from .batch_arrays import at_target, batch_arrays

if TYPE_CHECKING:
    import numpy as np

    from dacapo.store.array_store import LocalContainerIdentifier

    from .regions import SampleRegions
    from .weighting import TrainingBatch


def write_snapshot(
    container: LocalContainerIdentifier, batch: TrainingBatch, prediction: np.ndarray, regions: SampleRegions
) -> None:
    """Write all arrays of a batch to ``<iteration>/raw``, ``gt``, ``target``, ``weight``, ``mask`` and ``prediction``.

    Axes are batch, channel (if any), space. Offsets are relative to the input of the network, since samples come from
    many places and may be deformed. A snapshot of the same iteration is replaced.

    Args:
        container: The Zarr container to write to.
        batch: The batch, with ground truth and mask.
        prediction: Its prediction, before the step of the optimizer.
        regions: The regions of a sample.
    """
    arrays = {**batch_arrays(batch, regions)._asdict(), "prediction": at_target(prediction, regions)}
    for name, array in arrays.items():
        metadata = ArrayMetadata.of_world(array.axes, array.voxel_size, array.roi.offset, regions.world)
        shape, chunks, dtype = array.data.shape, (1, *array.data.shape[1:]), array.data.dtype
        place = f"{batch.iteration}/{name}"
        created = create_zarr2(container.container, place, shape, chunks, dtype, metadata.as_attributes())
        created[...] = array.data
