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


def check_length(opened: Any) -> Any:
    """Make an array opened by Zarr detect truncated chunks, and return it."""
    if type(opened.compressor) is Blosc:
        # Zarr looks a codec up by name and offers no public way to replace it; this one keeps the name.
        settings = {name: value for name, value in opened.compressor.get_config().items() if name != "id"}
        opened._compressor = CheckedBlosc(**settings)
    return opened
