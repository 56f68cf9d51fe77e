"""Create Zarr arrays and groups at URLs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .remote import TIMEOUT, kvstore_spec, open_context
from .remote_files import change_remote
from .zarr_files import create_zarr2_group, groups_above

_COMPRESSOR = {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 2, "blocksize": 0}


def create_remote_zarr2(
    container: Path,
    dataset: str,
    shape: Sequence[int],
    chunks: Sequence[int],
    dtype: np.dtype[Any],
    attributes: Mapping[str, Any],
) -> None:
    """Create a Zarr v2 array filled with zeros, in place of an existing one, and the groups above it.

    Raises:
        StorageError: If the URL cannot be written.
        ValueError: Likewise.
    """
    for group in groups_above(container, dataset):
        create_zarr2_group(group)
    metadata = {
        "zarr_format": 2,
        "shape": list(shape),
        "chunks": list(chunks),
        "dtype": dtype.str,
        "compressor": _COMPRESSOR,
        "fill_value": False if dtype.kind == "b" else 0,
        "order": "C",
        "filters": None,
        "dimension_separator": "/",
    }
    create_with_tensorstore("zarr", container / dataset, metadata)
    change_remote(container / dataset / ".zattrs", lambda before: json.dumps(dict(attributes), indent=4).encode())


def create_with_tensorstore(driver: str, folder: Path, metadata: Mapping[str, Any]) -> None:
    """Create an array at a URL, or on a disk, in place of an existing one.

    Args:
        driver: TensorStore's name of the format.
        folder: Where.
        metadata: The header of the array.

    Raises:
        ValueError: If it cannot be written.
    """
    import tensorstore

    spec = {"driver": driver, "kvstore": kvstore_spec(folder), "metadata": dict(metadata)}
    tensorstore.open(spec, create=True, delete_existing=True, context=open_context()).result(TIMEOUT)
