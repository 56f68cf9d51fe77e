"""Open arrays of containers, and read and write their values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dacapo.errors import StorageError
from dacapo.utils.byte_order import native_dtype
from dacapo.utils.paths import is_url

from .remote import open_context
from .stored_array import StoredArray
from .tensorstore_arrays import open_tensorstore, read_tensorstore, tensorstore_spec, write_tensorstore
from .zarr_files import fills_results, open_zarr2


def open_stored(found: StoredArray, mode: str) -> Any:
    """Open an array; the result can be sliced and has ``shape`` and ``dtype``.

    Args:
        found: From :func:`find_array`.
        mode: ``r`` to read, anything else to also write, which N5 does not support.

    Raises:
        StorageError: If the array cannot be opened.
    """
    try:
        if found.is_opened_by_zarr:
            return open_zarr2(found.path, "r" if mode == "r" else "r+")
        context = open_context() if is_url(found.container) else None
        return open_tensorstore(tensorstore_spec(found), context, write=mode != "r" and found.is_writable)
    except Exception as error:
        raise StorageError(f"cannot open {found.where} ({found.format}): {error}") from error


def read_values(found: StoredArray, opened: Any, index: tuple[slice, ...]) -> np.ndarray[Any, Any]:
    """Read from an array that :func:`open_stored` opened, in the byte order of the file.

    Raises:
        ValueError: If a chunk cannot be decoded, or not be read in time.
    """
    return _read_checked(opened, index) if found.is_opened_by_zarr else read_tensorstore(opened, index)


def write_values(found: StoredArray, opened: Any, index: tuple[slice, ...], values: np.ndarray[Any, Any]) -> None:
    """Write one value, or an array of the shape of the index, to an array that :func:`open_stored` opened.

    Raises:
        ValueError: If it cannot be written, in time.
    """
    if found.is_opened_by_zarr:
        opened[index] = values if values.ndim else values[()]
    else:
        write_tensorstore(opened, index, values.astype(numpy_dtype(opened), copy=False))


def _read_checked(opened: Any, index: tuple[slice, ...]) -> np.ndarray[Any, Any]:
    """Read from an array opened by Zarr, and detect chunks that hold too few values.

    Version 2 of Zarr decodes a chunk directly into a contiguous part of the result, and does not notice if some of that
    stays unchanged. Unless the codec detects this, the result is made noncontiguous.
    """
    if fills_results(opened):
        return np.asarray(opened[index])
    shape = [len(range(*s.indices(size))) for s, size in zip(index, opened.shape, strict=True)]
    first = next((axis for axis, n in enumerate(opened.chunks) if n > 1), 0)
    fits = [n <= c for n, c in zip(shape, opened.chunks, strict=True)]
    if opened.compressor is None or (opened.order == "C" and not all(fits[first + 1 :])):
        return np.asarray(opened[index])
    # A gap after every row suffices if chunks have several rows; it takes less memory than a gap after every value.
    rows = opened.order == "C" and math.prod(shape[:-1]) > 1 and first < len(shape) - 1
    room = (*shape[:-1], shape[-1] + 1) if rows else (*shape, 2)
    result = np.empty(room, dtype=opened.dtype)[(..., slice(-1) if rows else 0)]
    return np.ascontiguousarray(opened.get_basic_selection(index, out=result))


def numpy_dtype(opened: Any) -> np.dtype[Any]:
    """Return the data type of an array opened by :func:`open_stored`, in the byte order of this machine."""
    return native_dtype(getattr(opened.dtype, "numpy_dtype", opened.dtype))
