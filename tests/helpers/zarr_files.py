"""Zarr v2 arrays, written by the zarr package itself, whichever of its versions is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

ZARR3 = int(zarr.__version__.partition(".")[0]) >= 3


def write_zarr2(
    container: Path, dataset: str, values: np.ndarray, attributes: Mapping[str, Any], **settings: Any
) -> Any:
    """Write values, and the groups above them.

    Args:
        container: The folder of the container.
        dataset: The place of the array inside it.
        values: The values.
        attributes: The attributes of the array.
        **settings: Chunks, codecs and the like, as ``zarr.create`` takes them.
    """
    version = {"zarr_format" if ZARR3 else "zarr_version": 2}
    array = zarr.create(
        values.shape, dtype=values.dtype, store=str(container), path=dataset, overwrite=True, **version, **settings
    )
    array[...] = values
    array.attrs.put(dict(attributes))
    return array


def chunk_files(array: Path) -> list[Path]:
    """Return the files of the chunks of an array on disk, in nested folders or not."""
    return sorted(file for file in array.rglob("*") if file.is_file() and not file.name.startswith("."))
