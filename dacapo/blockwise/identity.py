"""What tells an input from others that could be in the same place, for work that goes on after an interruption."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier

RECORD_ID = "dacapo_record"
"""Attribute of an array with the id of the record of its making; see :mod:`dacapo.blockwise.record`."""

_METADATA_FILES = (".zarray", "zarr.json", "attributes.json")


def array_identity(identifier: LocalArrayIdentifier) -> dict[str, Any]:
    """Return what an array is, without reading its voxels, as JSON can hold it.

    An array that was made block by block is known by its record, another one by the time when it was created.
    Afterwards voxels may have changed without notice.

    Raises:
        ArrayNotFoundError: If there is none.
    """
    array = ZarrArray.open_from_array_identifier(identifier, mode="r")
    record = array.attrs.get(RECORD_ID)
    return {
        "path": str((identifier.container / identifier.dataset).resolve()),
        "shape": [int(extent) for extent in array.data.shape],
        "dtype": str(array.dtype),
        "axes": list(array.axes),
        "voxel_size": [int(size) for size in array.voxel_size],
        "offset": [int(begin) for begin in array.roi.offset],
        "made": record if record is not None else _created(identifier.container / identifier.dataset),
    }


def _created(folder: Path) -> int | None:
    times = [(folder / name).stat().st_mtime_ns for name in _METADATA_FILES if (folder / name).is_file()]
    return times[0] if times else None


def file_identity(path: Path | str) -> str:
    """Return a digest of the content of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def code_identity(source: str | Path) -> str | None:
    """Return a digest of the code of a Python file or a module, None if it has no file.

    What the code imports is not part of it.
    """
    if Path(source).is_file():
        return file_identity(source)
    spec = importlib.util.find_spec(str(source))
    return file_identity(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None


def config_identities(plain: Any) -> list[dict[str, Any]]:
    """Return what the files are that an array config reads, without reading their voxels.

    Args:
        plain: The config as plain values.

    Raises:
        ArrayNotFoundError: If an array does not exist.
    """
    if isinstance(plain, list):
        return [found for item in plain for found in config_identities(item)]
    if not isinstance(plain, dict):
        return []
    inner = [found for item in plain.values() for found in config_identities(item)]
    file, dataset = plain.get("file_name"), plain.get("dataset")
    if isinstance(file, str) and isinstance(dataset, str):
        return [array_identity(LocalArrayIdentifier(Path(file), dataset)), *inner]
    if isinstance(file, str) and Path(file).is_file():
        return [{"path": str(Path(file).resolve()), "made": Path(file).stat().st_mtime_ns}, *inner]
    return inner
