"""Segment function that finds objects in affinities by a mutex watershed; see :mod:`dacapo.blockwise`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Roi

from dacapo.errors import DtypeError
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.datasplits.datasets.arrays.channels import read_channels_first
from dacapo.utils.segmentation import segments_and_evidence

if TYPE_CHECKING:
    import daisy.v2 as daisy


def segment_function(
    input_array: Array,
    block: Roi | daisy.Block,
    offsets: Sequence[Sequence[int]],
    bias: float,
    long_range_bias: float | None = None,
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64]]:
    """Segment a block of affinities.

    Args:
        input_array: The affinities, one channel per offset; further channels are ignored.
        block: The region to segment in world units, or the block whose ``read_roi`` to segment.
        offsets: For each channel the step, in voxels, to the other voxel of the pair.
        bias: The affinity that separates "different" from "same".
        long_range_bias: The same for offsets that are not to a direct neighbor, ``bias`` by default.

    Returns:
        The labels, and as evidence for each voxel its mean affinity minus the bias: segments whose mean affinity over
        the whole volume is below the bias become background.
    """
    affinities, value_range = read_affinities(input_array, len(offsets), getattr(block, "read_roi", block))
    return segments_and_evidence(affinities, offsets, bias, long_range_bias, value_range)


def read_affinities(
    prediction: Array, count: int, roi: Roi | None = None
) -> tuple[npt.NDArray[Any], tuple[float, float] | None]:
    """Return the first channels of a prediction as they are stored, and the range of the affinities.

    Args:
        prediction: The prediction.
        count: Number of channels.
        roi: The region to read in world units, by default that of the prediction.

    Returns:
        The values, the channel axis first, and the affinities that the lowest and the highest unsigned integer
        represent: the attribute ``value_range`` of the prediction, 0 and 1 without it, None for floating point numbers.

    Raises:
        DtypeError: If the prediction is stored as anything but unsigned integers or floating point numbers.
    """
    dtype = prediction.dtype
    if dtype.kind not in "uf":
        raise DtypeError(f"affinities are stored as unsigned integers or floating point numbers, not as {dtype}")
    values = read_channels_first(prediction, roi)
    if dtype.kind == "f":
        return values[:count], None
    low, high = prediction.attrs.get("value_range", (0.0, 1.0))
    return values[:count], (float(low), float(high))
