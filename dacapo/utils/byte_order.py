"""The order of bytes in numbers: files have either, and compiled code mostly takes only that of the processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def native(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values in the byte order of this machine; a copy only if they have the other one.

    >>> native(np.array([1, 2], dtype=">u8")).dtype == np.uint64
    True
    """
    return values if values.dtype.isnative else values.astype(native_dtype(values.dtype))


def native_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return a data type in the byte order of this machine."""
    return np.dtype(dtype).newbyteorder("=")
