"""Decompression that notices a file that was cut, and a chunk that holds too few values.

Blosc itself trusts the length that the first bytes of a chunk tell, and reads what lies behind the end of the data in
memory where there is less. What it decompresses into an array may leave part of that as it was.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numcodecs import Blosc
from numcodecs.compat import ensure_contiguous_ndarray

_HEADER = 16


class CheckedBlosc(Blosc):  # type: ignore[misc]  # numcodecs has no types
    """The codec of numcodecs, which raises an error for a chunk that is not as long as it says."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decompress a chunk.

        Raises:
            ValueError: If it is cut or has bytes too many, or does not fill ``out``.
        """
        data = ensure_contiguous_ndarray(buf).view(np.uint8)
        told = int(data[12:_HEADER].view("<u4")[0]) if data.size >= _HEADER else _HEADER
        if data.size != told:
            raise ValueError(f"it has {data.size} bytes, of {told} that it should have")
        if out is not None:
            holds, expected = int(data[4:8].view("<u4")[0]), ensure_contiguous_ndarray(out).nbytes
            if holds != expected:
                raise ValueError(f"it holds {holds} bytes, of {expected} that it should hold")
        return super().decode(buf, out)


def check_length(opened: Any) -> Any:
    """Make an array that Zarr opened notice chunks that were cut, and return it."""
    if type(opened.compressor) is Blosc:
        # There is no public way: a codec is known by its name, and this one has that of the codec that it checks.
        settings = {name: value for name, value in opened.compressor.get_config().items() if name != "id"}
        opened._compressor = CheckedBlosc(**settings)
    return opened
