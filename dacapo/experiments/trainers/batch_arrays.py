"""Batches as arrays, for scripts that look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dacapo.experiments.datasplits.datasets.arrays import NumpyArray

if TYPE_CHECKING:
    from funlib.geometry import Coordinate, Roi

    from .loader import TrainingBatch
    from .regions import SampleRegions


class BatchArrays(NamedTuple):
    """The arrays of a batch, axes batch, channel (where there are any), space.

    Attributes:
        raw: Input of the network.
        gt: Ground truth.
        target: What the prediction is compared with.
        weight: Weight of every value of the target.
        mask: Not 0 where ground truth is annotated, None if no dataset has a mask.
    """

    raw: NumpyArray
    gt: NumpyArray
    target: NumpyArray
    weight: NumpyArray
    mask: NumpyArray | None


def batch_arrays(batch: TrainingBatch, regions: SampleRegions, has_mask: bool) -> BatchArrays:
    """Return a batch that shows ground truth and mask as arrays with a place, relative to the input of the network."""

    def at_target(values: Any) -> NumpyArray:
        return _wrap(values, regions.target_roi, regions.target_voxel_size)

    return BatchArrays(
        _wrap(batch.raw, regions.raw_roi, regions.voxel_size),
        at_target(batch.gt),
        at_target(batch.target),
        at_target(batch.weight),
        at_target(batch.mask) if has_mask else None,
    )


def _wrap(values: Any, roi: Roi, voxel_size: Coordinate) -> NumpyArray:
    array = values if isinstance(values, np.ndarray) else values.cpu().numpy()
    leading, spatial = array.ndim - roi.dims, ["z", "y", "x"][-roi.dims :]
    return NumpyArray.from_np_array(array, roi, voxel_size, [*["b", "c"][:leading], *spatial])
