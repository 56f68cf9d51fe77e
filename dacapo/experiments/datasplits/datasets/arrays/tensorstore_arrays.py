"""Open, read and write arrays with TensorStore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dacapo.utils.paths import is_url

from .precomputed import PRECOMPUTED, in_order_of_axes, precomputed_spec
from .remote import TIMEOUT, cause, kvstore_spec
from .stored_array import StoredArray

_ZARR2_HEADER = (
    "zarr_format",
    "shape",
    "chunks",
    "dtype",
    "compressor",
    "fill_value",
    "order",
    "filters",
    "dimension_separator",
)
_N5_HEADER = ("dimensions", "blockSize", "dataType", "compression")


def tensorstore_spec(found: StoredArray) -> dict[str, Any]:
    """Return the spec by which TensorStore opens an array."""
    if found.format == PRECOMPUTED:
        return precomputed_spec(found.header, kvstore_spec(found.path.parent))
    spec = {"driver": "zarr" if found.format == "zarr2" else found.format, "kvstore": kvstore_spec(found.path)}
    if is_url(found.container):
        # A request for each use of a chunk in the cache would take as long as reading it again.
        spec["recheck_cached_data"] = "open"
    if found.format == "zarr2":
        # Set explicitly, because TensorStore rejects members that Zarr ignores.
        header = {key: value for key, value in found.header.items() if key in _ZARR2_HEADER}
        compressor = header.get("compressor")
        if isinstance(compressor, Mapping) and compressor.get("id") == "zstd":
            # A checksum is optional, and checked if present.
            header["compressor"] = {key: value for key, value in compressor.items() if key != "checksum"}
        spec["metadata"] = header
    elif found.format == "n5":
        # Set explicitly, because TensorStore rejects resolution and units that omit the channel axis.
        spec["metadata"] = {key: value for key, value in found.header.items() if key in _N5_HEADER}
    return spec


def open_tensorstore(spec: dict[str, Any], context: Any = None, write: bool = False) -> Any:
    """Open an array with TensorStore.

    Raises:
        ValueError: If it cannot be opened.
    """
    import tensorstore

    known = "metadata" in spec
    options = {} if context is None else {"context": context}
    opened = tensorstore.open(spec, open=True, read=True, write=write, assume_metadata=known, **options).result()
    if spec["driver"] == PRECOMPUTED:
        return in_order_of_axes(opened)
    # N5 lists its axes from the fastest to the slowest.
    return opened.T if spec["driver"] == "n5" else opened


def read_tensorstore(opened: Any, index: tuple[slice, ...]) -> np.ndarray[Any, Any]:
    """Read from an array opened by TensorStore; chunks are read at the same time.

    Raises:
        ValueError: If a chunk cannot be read, in time.
    """
    try:
        return np.asarray(opened[index].read().result(TIMEOUT))
    except TimeoutError as error:
        raise ValueError(cause(error)) from error


def write_tensorstore(opened: Any, index: tuple[slice, ...], value: np.ndarray[Any, Any]) -> None:
    """Write to an array opened by TensorStore.

    Raises:
        ValueError: If it cannot be written, in time.
    """
    try:
        opened[index].write(value).result(TIMEOUT)
    except TimeoutError as error:
        raise ValueError(cause(error)) from error
