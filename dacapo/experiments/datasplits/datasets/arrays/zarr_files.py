"""Create and open Zarr v2 arrays on disk, with version 2 or 3 of the zarr package."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from dacapo.store.files import atomic_path
from dacapo.store.folders import atomic_folder
from dacapo.utils.paths import is_url, shown

from .checked_blosc import CheckedBlosc, checked
from .places import has_file
from .remote_files import change_remote


def is_zarr3() -> bool:
    """Return whether the installed zarr package is of version 3 or later."""
    import zarr

    return int(zarr.__version__.partition(".")[0]) >= 3


def create_zarr2_group(folder: Path) -> None:
    """Make a folder, or a URL, a group of Zarr v2, unless it is one.

    Raises:
        StorageError: If it cannot be written.
    """
    if has_file(folder / ".zgroup"):
        return
    header = json.dumps({"zarr_format": 2}).encode()
    if is_url(folder):
        change_remote(folder / ".zgroup", lambda before: header if before is None else None)
        return
    with atomic_path(folder / ".zgroup") as path:
        path.write_bytes(header)


def create_zarr2(
    container: Path,
    dataset: str,
    shape: Sequence[int],
    chunks: Sequence[int],
    dtype: np.dtype[Any],
    attributes: Mapping[str, Any],
) -> Any:
    """Create an array filled with zeros, in place of an existing one, and the groups above it.

    It appears with all of its attributes, and one that it replaces exists until then.

    Chunks lie in a folder per index, ``4/0/17``, since a folder with millions of files is slow on most file systems.

    Raises:
        OSError: If the folder cannot be written.
        KeyError: Likewise; version 2 of zarr makes it of an error of the file system.
    """
    import numcodecs
    import zarr

    for group in groups_above(container, dataset):
        create_zarr2_group(group)
    with new_array_folder(container / dataset) as folder:
        created = zarr.create(
            shape=tuple(shape),
            chunks=tuple(chunks),
            dtype=dtype,
            fill_value=0,
            compressor=numcodecs.Blosc(cname="zstd", clevel=3, shuffle=numcodecs.Blosc.BITSHUFFLE),
            store=str(folder) if is_zarr3() else zarr.DirectoryStore(str(folder)),
            overwrite=True,
            dimension_separator="/",
            **{"zarr_format" if is_zarr3() else "zarr_version": 2},
        )
        created.attrs.put(dict(attributes))
    return zarr.open_array(str(container / dataset), mode="r+", **({"zarr_format": 2} if is_zarr3() else {}))


def groups_above(container: Path, dataset: str) -> list[Path]:
    """Return the folders of the groups that hold an array, the container first; none if it is the array."""
    parts = [part for part in dataset.split("/") if part]
    return [container.joinpath(*parts[:depth]) for depth in range(len(parts))]


def new_array_folder(folder: Path) -> AbstractContextManager[Path]:
    """Give the folder to create an array in, which becomes ``folder`` when the ``with`` block succeeds.

    In place of a link, whose owner has chosen where the array lies, it is ``folder`` itself.
    """
    return nullcontext(folder) if folder.is_symlink() else atomic_folder(folder)


def open_zarr2(path: Path, mode: str) -> Any:
    """Open an array such that it detects truncated chunks, and stores no chunks that are empty.

    Without a fill value, missing chunks are read as zeros.

    Args:
        path: Folder of the array.
        mode: ``r`` or ``r+``.
    """
    import zarr

    if not is_zarr3():
        opened = zarr.open_array(shown(path), mode=mode, write_empty_chunks=False)
        if opened.fill_value is None:
            # Chunks that are missing would keep what was in memory before. Others must not miss empty ones.
            opened._write_empty_chunks, opened._fill_value = True, opened.dtype.type()
        # Zarr looks a codec up by name and offers no public way to replace it.
        opened._compressor = checked(opened.compressor)
        return opened
    opened = zarr.open_array(shown(path), mode=mode, zarr_format=2, config={"write_empty_chunks": False})
    metadata = dataclasses.replace(opened.metadata, compressor=checked(opened.metadata.compressor))
    inner = opened.async_array
    return zarr.Array(zarr.AsyncArray(metadata=metadata, store_path=inner.store_path, config=inner.config))


def fills_results(opened: Any) -> bool:
    """Return whether reading an array that :func:`open_zarr2` opened fails for a chunk that holds too few values."""
    return is_zarr3() or (isinstance(opened.compressor, CheckedBlosc) and not opened.filters)
