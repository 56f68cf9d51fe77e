"""Decompression that detects truncated chunks, and chunks that hold too few values.

Blosc itself trusts the length in the header of a chunk, and reads past the end of a truncated one. When it decompresses
into an array, part of the array may stay unchanged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numcodecs import Blosc
from numcodecs.compat import ensure_contiguous_ndarray

_HEADER = 16


class CheckedBlosc(Blosc):  # type: ignore[misc]  # numcodecs has no types
    """The codec of numcodecs, which raises an error for a chunk whose length disagrees with its header."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decompress a chunk.

        Raises:
            ValueError: If it is truncated, has extra bytes, or does not fill ``out``.
        """
        data = ensure_contiguous_ndarray(buf).view(np.uint8)
        told = int(data[12:_HEADER].view("<u4")[0]) if data.size >= _HEADER else _HEADER
        if data.size != told:
            raise ValueError(f"it has {data.size} bytes; expected {told}")
        if out is not None:
            holds, expected = int(data[4:8].view("<u4")[0]), ensure_contiguous_ndarray(out).nbytes
            if holds != expected:
                raise ValueError(f"it holds {holds} bytes; expected {expected}")
        return super().decode(buf, out)


def checked(codec: Any) -> Any:
    """Return a codec that detects truncated chunks in place of one that does not; others are returned unchanged."""
    if type(codec) is not Blosc:
        return codec
    return CheckedBlosc(**{name: value for name, value in codec.get_config().items() if name != "id"})
