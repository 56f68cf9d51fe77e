"""Convert numbers to the byte order of this machine, which most compiled code requires; files may have either."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def native(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values in the byte order of this machine; copies only if necessary.

    >>> native(np.array([1, 2], dtype=">u8")).dtype == np.uint64
    True
    """
    return values if values.dtype.isnative else values.astype(native_dtype(values.dtype))


def native_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return a data type in the byte order of this machine."""
    return np.dtype(dtype).newbyteorder("=")
