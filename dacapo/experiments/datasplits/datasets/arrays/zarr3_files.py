"""Create Zarr v3 arrays with sharding on disk, and change the attributes of arrays and groups of both versions.

A shard is what a block writes at once. Chunks inside of it are compressed one by one, so that viewers read little.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from dacapo.store.files import atomic_path, storage_error
from dacapo.utils.paths import is_url

from .axes import CHUNK_EDGE, NON_SPATIAL_AXES, spatial_axes_of
from .places import has_file, parse_object, read_file, read_json
from .remote_files import change_remote
from .remote_zarr import create_with_tensorstore
from .zarr_files import groups_above, new_array_folder

HEADER = "zarr.json"


def is_zarr3_group(folder: Path) -> bool:
    """Return whether a folder is a group of a Zarr v3 container."""
    return read_json(folder / HEADER).get("node_type") == "group"


def create_zarr3_group(folder: Path) -> None:
    """Make a folder a group of Zarr v3, unless it is one.

    Raises:
        StorageError: If it cannot be written.
    """
    if has_file(folder / HEADER):
        return
    header = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}, indent=2)
    if is_url(folder):
        change_remote(folder / HEADER, lambda before: header.encode() if before is None else None)
        return
    with atomic_path(folder / HEADER) as path:
        path.write_text(header)


def create_zarr3(
    container: Path,
    dataset: str,
    shape: Sequence[int],
    shards: Sequence[int],
    dtype: np.dtype[Any],
    axes: Sequence[str],
    attributes: Mapping[str, Any],
) -> None:
    """Create an array filled with zeros, in place of an existing one, and the groups above it.

    Raises:
        OSError: If the folder cannot be written.
        ValueError: Likewise, or if the format has no such data type.
    """
    for group in groups_above(container, dataset):
        create_zarr3_group(group)
    inner: list[dict[str, Any]] = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {
            "name": "blosc",
            "configuration": {
                "cname": "zstd",
                "clevel": 3,
                "shuffle": "bitshuffle",
                "typesize": dtype.itemsize,
                "blocksize": 0,
            },
        },
    ]
    index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    sharding = {
        "chunk_shape": chunks_in_shard(shards, axes),
        "codecs": inner,
        "index_codecs": index,
        "index_location": "end",
    }
    metadata = {
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shards)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "fill_value": False if dtype.kind == "b" else 0,
        "dimension_names": list(axes),
        "attributes": dict(attributes),
    }
    place = nullcontext(container / dataset) if is_url(container) else new_array_folder(container / dataset)
    with place as folder:
        create_with_tensorstore("zarr3", folder, metadata)


def chunks_in_shard(shards: Sequence[int], axes: Sequence[str]) -> list[int]:
    """Return the shape of the chunks inside a shard: along each axis the part of it closest to :data:`.CHUNK_EDGE`.

    A shard whose edge is a prime has one chunk along it, since parts of one voxel would take more room than the data.

    >>> chunks_in_shard([12, 256, 106, 67], ["c", "z", "y", "x"]), chunks_in_shard([2048, 2048], ["y", "x"])
    ([12, 64, 53, 67], [512, 512])
    """
    wanted = CHUNK_EDGE.get(len(spatial_axes_of(list(axes))), 16)

    def closest(edge: int) -> int:
        parts = (edge // n for n in range(1, edge + 1) if edge % n == 0)
        return min(parts, key=lambda part: abs(math.log(part / wanted)))

    return [edge if axis in NON_SPATIAL_AXES else closest(edge) for edge, axis in zip(shards, axes, strict=True)]


def read_attributes(folder: Path) -> dict[str, Any]:
    """Return the attributes of an array or a group of Zarr v2 or v3."""
    header = read_json(folder / HEADER)
    return dict(header.get("attributes", {})) if header else read_json(folder / ".zattrs")


def update_attributes(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the attributes of an array or a group of Zarr v2 or v3, as the only one of all processes on this disk.

    Args:
        folder: The array or group.
        change: Changes the attributes in place.

    Raises:
        StorageError: If they cannot be written.
    """
    is_v3 = has_file(folder / HEADER)
    file = folder / (HEADER if is_v3 else ".zattrs")

    def changed(before: bytes | None) -> bytes | None:
        content = parse_object(before or b"{}", file)
        text = json.dumps(content)
        change(content.setdefault("attributes", {}) if is_v3 else content)
        return None if json.dumps(content) == text else json.dumps(content, indent=4).encode()

    if is_url(folder):
        change_remote(file, changed)
        return
    try:
        with _alone(folder):
            after = changed(read_file(file))
            if after is not None:
                with atomic_path(file) as path:
                    path.write_bytes(after)
    except OSError as error:
        raise storage_error("write", file, error) from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
