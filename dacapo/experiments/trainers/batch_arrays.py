"""Batches as arrays with axes and regions, for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dacapo.experiments.datasplits.datasets.arrays import NumpyArray

if TYPE_CHECKING:
    import numpy as np
    from funlib.geometry import Coordinate, Roi

    from .regions import SampleRegions
    from .weighting import TrainingBatch


class BatchArrays(NamedTuple):
    """The arrays of a batch, axes batch, channel (if any), space.

    Attributes:
        raw: Input of the network.
        gt: Ground truth.
        target: Target of the prediction.
        weight: Weight of every value of the target.
        mask: Not 0 where ground truth is annotated; None if no dataset has a mask.
    """

    raw: NumpyArray
    gt: NumpyArray
    target: NumpyArray
    weight: NumpyArray
    mask: NumpyArray | None


def batch_arrays(batch: TrainingBatch, regions: SampleRegions, has_mask: bool = True) -> BatchArrays:
    """Return a batch with ground truth and mask as arrays, in regions relative to the input of the network."""
    raw = _wrap(batch.raw, regions.raw_roi, regions.voxel_size)
    gt, target, weight, mask = (at_target(v, regions) for v in (batch.gt, batch.target, batch.weight, batch.mask))
    return BatchArrays(raw, gt, target, weight, mask if has_mask else None)


def at_target(values: np.ndarray | None, regions: SampleRegions) -> NumpyArray:
    """Return an array over the region that is predicted, axes batch, channel (if any), space."""
    return _wrap(values, regions.target_roi, regions.target_voxel_size)


def _wrap(values: np.ndarray | None, roi: Roi, voxel_size: Coordinate) -> NumpyArray:
    assert values is not None
    leading, spatial = values.ndim - roi.dims, ["z", "y", "x"][-roi.dims :]
    return NumpyArray.from_np_array(values, roi, voxel_size, [*["b", "c"][:leading], *spatial])
