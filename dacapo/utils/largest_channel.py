"""The index of the largest channel of each voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# Types for which NumPy has vectorized comparisons; half precision is not among them.
_COMPARED_AT_ONCE = "?bBhHiIlLqQfd"


def largest_channel(values: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """Return the result of ``numpy.argmax`` in a smaller type: the first maximum, or the first NaN if any.

    Comparing whole channels one after the other is many times as fast.

    Args:
        values: At least two axes.
        axis: The channel axis.
    """
    if values.dtype.char not in _COMPARED_AT_ONCE or values.strides[axis] == values.itemsize:
        return np.asarray(np.argmax(values, axis=axis))
    channels = np.moveaxis(values, axis, 0)
    kind = np.min_scalar_type(len(channels) - 1)
    largest, index = channels[0].copy(), np.zeros(channels.shape[1:], dtype=kind)
    for number, channel in enumerate(channels[1:], start=1):
        # Numbers ascend, so the maximum replaces; a product avoids the branch per voxel of a mask.
        np.maximum(index, (channel > largest).view(np.uint8) * kind.type(number), out=index)
        np.maximum(largest, channel, out=largest)
    if largest.dtype.kind == "f":
        # NaN is never larger, but propagates through the maximum.
        missing = np.isnan(largest)
        if missing.any():
            index[missing] = np.argmax(channels[:, missing], axis=0)
    return index
