"""Reading what is to be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Roi

from dacapo.errors import EvaluationError
from dacapo.experiments.datasplits.datasets.arrays import Array


def common_roi(output: Array, truth: Array) -> Roi:
    """Return the region that an output and the truth share, in world units.

    Raises:
        EvaluationError: If they share none, or their voxels do not coincide.
    """
    if output.voxel_size != truth.voxel_size:
        raise EvaluationError(
            f"the output has voxels of size {output.voxel_size} and the truth of {truth.voxel_size}; "
            "resample the truth to the voxel size of the output"
        )
    roi = output.roi.intersect(truth.roi)
    if roi.empty:
        raise EvaluationError(f"the output covers {output.roi} and the truth {truth.roi}, which do not overlap")
    shift = (output.roi.begin - truth.roi.begin) % truth.voxel_size
    if any(shift):
        raise EvaluationError(
            f"the output starts at {output.roi.begin} and the truth at {truth.roi.begin}, so that voxels of size "
            f"{truth.voxel_size} do not coincide; align the offsets"
        )
    return roi


def scored_roi(output: Array, truth: Array, mask: Array | None) -> Roi:
    """Return the region that an output, a truth and a mask share, in world units.

    Raises:
        EvaluationError: If they share none, or their voxels do not coincide.
    """
    roi = common_roi(output, truth)
    if mask is None:
        return roi
    masked = roi.intersect(common_roi(output, mask))
    if masked.empty:
        raise EvaluationError(f"output and truth share {roi}, which the mask ({mask.roi}) does not cover")
    return masked


def read_channels_first(array: Array, roi: Roi) -> npt.NDArray[Any]:
    """Return the values of an array in a region, the channel axis first where it has one."""
    values: npt.NDArray[Any] = np.asarray(array[roi])
    return np.moveaxis(values, array.axes.index("c"), 0) if "c" in array.axes else values


def read_labels(array: Array, roi: Roi, what: str) -> npt.NDArray[Any]:
    """Return the values of an array without channels, or with a single one, as an array of spatial axes only.

    Raises:
        EvaluationError: If there are several channels.
    """
    values = read_channels_first(array, roi)
    if "c" not in array.axes:
        return values
    if values.shape[0] != 1:
        raise EvaluationError(f"the {what} has {values.shape[0]} channels where a single volume of labels is expected")
    return np.asarray(values[0])
