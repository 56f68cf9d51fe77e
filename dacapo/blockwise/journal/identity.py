"""Identities of inputs, code and classes, by which a journal recognizes the same work."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

from dacapo.experiments.datasplits.datasets.arrays import ZarrArray, open_identifier
from dacapo.experiments.datasplits.datasets.arrays.opener import is_file
from dacapo.experiments.datasplits.datasets.arrays.places import has_file
from dacapo.experiments.datasplits.datasets.arrays.remote_file import version_of
from dacapo.experiments.datasplits.datasets.arrays.voxel_reader import VoxelReader
from dacapo.store import files
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.paths import resolved

JOURNAL_ID = "dacapo_record"
"""Attribute of an array with the id of its journal."""
CLASS_KEY = "class"
"""Parameter with the class of the operation."""
_CLASS_NAMES = {"dacapo.inference.prediction:Prediction": "dacapo.blockwise.prediction:Prediction"}
_CODE = {
    # Of the modules of this package, fixed: their results stay when their text changes. Change one with its results.
    "watershed_function": "91c3575469bccacd0f539dcbcfb5bb46d51f5af5ae248ecc6c94abda5dfacd46",
    "empanada_function": "2cf338d83e9c01b3623cd52cdacb283d32f9a5b341a04c66c5bcd23fbf7b4453",
    "threshold_worker": "fd6eab1dc6093aa1f009c8f996cfd5876e640bc01367af84b2489aa795b9f3c8",
    "argmax_worker": "8a5b1044a9084176219d71cbea37ddb4ee1450d98d058d12eed7c6c9d8fd4a37",
    "predict_worker": "b14a58d95cf048ea155b31c259a44e9d5267c409df37f01786f34a845058629b",
    "segment_worker": "d428246b80e31c3eca60766946aecb804a4629429573c7e228fc2d0ac962e7c6",
    "relabel_worker": "5702695e71bd1a6fa26b45b4f3f53aa271b522068c5a81fff429c98795a36056",
}
_METADATA_FILES = (".zarray", "zarr.json", "attributes.json")
_BLOCKWISE = Path(__file__).resolve().parents[1]


def class_name(path: str) -> str:
    """Return the name of a class in journals, which stays when the class moves, so that earlier work can be resumed.

    Args:
        path: Where the class is now, as ``module:name``.
    """
    return _CLASS_NAMES.get(path, path)


def journal_id(identifier: LocalArrayIdentifier) -> str | None:
    """Return the id of the journal of an array, None if it was made without one."""
    found: str | None = ZarrArray.open_from_array_identifier(identifier, mode="r").attrs.get(JOURNAL_ID)
    return found


def array_identity(identifier: LocalArrayIdentifier) -> dict[str, Any]:
    """Return the identity of an array, as JSON can hold it, without reading voxels.

    An array that was made block by block is known by its journal, any other by the time of its creation. Later changes
    of voxels go unnoticed.

    Raises:
        ArrayNotFoundError: If the array does not exist.
    """
    array = open_identifier(identifier)
    made_by = array.attrs.get(JOURNAL_ID)
    return {
        "path": resolved(identifier.container / identifier.dataset),
        "shape": list(VoxelReader(array).shape),
        "dtype": str(array.dtype),
        "axes": list(array.axes),
        "voxel_size": [int(size) for size in array.voxel_size],
        "offset": [int(begin) for begin in array.roi.offset],
        "made": made_by if made_by is not None else _created(identifier),
    }


def _created(identifier: LocalArrayIdentifier) -> int | str | None:
    if is_file(identifier.container):
        return version_of(identifier.container)
    folder = identifier.container / identifier.dataset
    # Of neuroglancer precomputed, one file describes all levels.
    described = [*(folder / name for name in _METADATA_FILES), folder / "info", folder.parent / "info"]
    return next((version_of(file, is_small=True) for file in described if has_file(file)), None)


def code_identity(source: str | Path) -> str | None:
    """Return a digest of a Python file or module, without the code that it imports; None if it has no file."""
    path = Path(source)
    if not files.is_file(path):
        spec = importlib.util.find_spec(str(source))
        path = Path(spec.origin) if spec and spec.origin else path
    if path.resolve().parent == _BLOCKWISE and path.stem in _CODE:
        return _CODE[path.stem]
    return hashlib.sha256(files.read_bytes(path)).hexdigest() if files.is_file(path) else None


def config_identities(plain: Any) -> list[dict[str, Any]]:
    """Return the identities of the files that an array config reads, without reading voxels.

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
    if isinstance(file, str) and is_file(Path(file)):
        return [{"path": resolved(Path(file)), "made": version_of(Path(file))}, *inner]
    return inner
