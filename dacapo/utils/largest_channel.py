"""The channel with the largest value, voxel by voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# Types that the processor compares many at once; half precision is not among them.
_COMPARED_AT_ONCE = "?bBhHiIlLqQfd"


def largest_channel(values: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """Return what ``numpy.argmax`` does, in a smaller type: the first one of equals, and the first NaN if there is one.

    Channel by channel, whole blocks at a time, this is many times as fast.

    Args:
        values: At least two axes.
        axis: That of the channels.
    """
    if values.dtype.char not in _COMPARED_AT_ONCE or values.strides[axis] == values.itemsize:
        return np.asarray(np.argmax(values, axis=axis))
    channels = np.moveaxis(values, axis, 0)
    kind = np.min_scalar_type(len(channels) - 1)
    largest, index = channels[0].copy(), np.zeros(channels.shape[1:], dtype=kind)
    for number, channel in enumerate(channels[1:], start=1):
        # Numbers ascend, so the maximum replaces; a product does not branch at every voxel, as a mask would.
        np.maximum(index, (channel > largest).view(np.uint8) * kind.type(number), out=index)
        np.maximum(largest, channel, out=largest)
    if largest.dtype.kind == "f":
        # NaN is above nothing, but stays in the maximum.
        missing = np.isnan(largest)
        if missing.any():
            index[missing] = np.argmax(channels[:, missing], axis=0)
    return index
