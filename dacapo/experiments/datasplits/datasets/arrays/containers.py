"""Arrays in containers: Zarr v2 and v3 (read and written); N5 and neuroglancer precomputed (read)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dacapo.errors import ArrayNotFoundError, ConfigError, StorageError, UnsafeFileError
from dacapo.utils.byte_order import native_dtype
from dacapo.utils.paths import is_url, shown

from .foreign import check_sizes, metadata_errors
from .metadata import ArrayMetadata, Candidates, n5_candidates, plain_candidates
from .ome_metadata import ome_candidates
from .placement import metadata_from, stated_in
from .places import folders_in, has_file, read_json
from .precomputed import PRECOMPUTED, in_order_of_axes, precomputed_scale, precomputed_scales, precomputed_spec
from .remote import TIMEOUT, cause, in_memory, kvstore_spec, open_context
from .remote_files import is_writable_place
from .zarr_files import fills_results, open_zarr2

ALIASES = "dacapo_names"
"""Attribute of a container: earlier names of its datasets."""
WRITABLE = ("zarr2", "zarr3")
MAX_LISTED = 20
MAX_DEPTH = 8
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


@dataclass(frozen=True)
class StoredArray:
    """An array found in a container, not yet opened."""

    container: Path
    dataset: str
    format: str
    """``zarr2``, ``zarr3``, ``n5`` or ``neuroglancer_precomputed``."""
    header: Mapping[str, Any]
    """The format's own metadata: shape, chunks and data type."""
    attributes: Mapping[str, Any]

    @property
    def where(self) -> str:
        """Container and dataset, for messages."""
        return shown(self.container / self.dataset)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.header["dimensions" if self.format == "n5" else "shape"])

    @property
    def is_opened_by_zarr(self) -> bool:
        """Whether Zarr reads and writes it, and not TensorStore: on a disk, or in memory."""
        return self.format == "zarr2" and (not is_url(self.container) or in_memory(self.container))

    @property
    def is_writable(self) -> bool:
        """Whether its format and place can be written."""
        return self.format in WRITABLE and (is_writable_place(self.container) or self.is_opened_by_zarr)

    @property
    def path(self) -> Path:
        """Folder of the array."""
        return self.container / self.dataset


def dataset_name(dataset: str) -> str:
    """Return the name of a dataset without leading, trailing and double slashes.

    Raises:
        ConfigError: If the name leads out of the container.
    """
    parts = [part for part in dataset.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ConfigError(f"dataset {dataset!r} leads out of its container; give the path inside the container")
    return "/".join(parts)


def _identify(folder: Path) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
    """Return format, header and attributes of the array in a folder, or None if it holds none."""
    if has_file(folder / ".zarray"):
        return "zarr2", read_json(folder / ".zarray"), read_json(folder / ".zattrs")
    if has_file(folder / "zarr.json"):
        header = read_json(folder / "zarr.json")
        return ("zarr3", header, header.get("attributes", {})) if header.get("node_type") == "array" else None
    if has_file(folder / "attributes.json"):
        header = read_json(folder / "attributes.json")
        return ("n5", header, header) if "dimensions" in header and "dataType" in header else None
    return precomputed_scale(folder)


def is_array(folder: Path) -> bool:
    """Return whether a folder is an array of a supported format."""
    return _identify(folder) is not None


def group_attributes(folder: Path) -> dict[str, Any]:
    """Return the attributes of a group in any supported format; empty if it has none."""
    attributes = read_json(folder / "zarr.json").get("attributes", {})
    return {**read_json(folder / "attributes.json"), **read_json(folder / ".zattrs"), **attributes}


def is_container(folder: Path) -> bool:
    """Return whether a folder says that it is a group, or an array, of a supported format."""
    if has_file(folder / ".zgroup") or has_file(folder / "zarr.json") or has_file(folder / ".zarray"):
        return True
    if precomputed_scales(folder):
        return True
    # Other programs have files of this name, too.
    attributes = read_json(folder / "attributes.json")
    return "n5" in attributes or ("dimensions" in attributes and "dataType" in attributes)


def multiscale_levels(folder: Path) -> list[str]:
    """Return the paths of the levels that a group's OME-NGFF multiscales list, relative to it; empty without any."""
    attributes = group_attributes(folder)
    nested = attributes.get("ome")
    multiscales = (nested if isinstance(nested, Mapping) else attributes).get("multiscales")
    if not isinstance(multiscales, Sequence) or not multiscales:
        return precomputed_scales(folder)
    # Several multiscales are the same image, downsampled by different methods.
    return [str(level["path"]).strip("/") for level in multiscales[0].get("datasets", []) if "path" in level]


def default_dataset(container: Path) -> str:
    """Return the name of the array to open if none is given: the only one, or the finest level of the only image.

    Raises:
        ArrayNotFoundError: If there is none.
        ConfigError: If there are several.
    """
    if is_array(container):
        return ""
    levels = multiscale_levels(container)
    held = list_datasets(container)
    if levels and all(name in levels or name.startswith("labels/") for name in held):
        return levels[0]
    return the_only(container, held)


def the_only(container: Path, held: Sequence[str]) -> str:
    """Return the only one of the names of arrays in a container.

    Raises:
        ArrayNotFoundError: If there is none.
        ConfigError: If there are several.
    """
    if len(held) == 1:
        return held[0]
    if not held and is_url(container):
        raise ConfigError(f"{shown(container)} cannot be listed; name the dataset")
    if not held:
        raise ArrayNotFoundError(f"{container} holds no arrays")
    raise ConfigError(f"{shown(container)} holds several arrays: {listing(held)}; name the dataset")


def listing(names: Sequence[str]) -> str:
    """Return names as text for a message; the first ones if there are many."""
    return ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")


def find_array(container: Path, dataset: str) -> StoredArray:
    """Find an array in a container, reading only its small metadata files.

    Raises:
        ArrayNotFoundError: If the container or the dataset does not exist; the message lists the existing datasets.
        MetadataError: If the metadata is damaged, or states sizes that cannot be.
        UnsafeFileError: If reading the array could execute code.
    """
    with metadata_errors(shown(container / dataset)):
        return _find_array(container, dataset)


def _find_array(container: Path, dataset: str) -> StoredArray:
    name = dataset_name(dataset)
    if not is_url(container) and not container.exists():
        raise ArrayNotFoundError(f"container {container} does not exist (requested dataset {dataset!r})")
    identified = _identify(container / name)
    if identified is None and name and (other := group_attributes(container).get(ALIASES, {}).get(name)):
        name, identified = other, _identify(container / other)
    if identified is None and is_url(container):
        held = list_datasets(container)
        holds = f"{shown(container)} holds {listing(held)}" if held else "its container cannot be listed"
        raise ArrayNotFoundError(
            f"no array is at {shown(container / name)} (dataset {dataset!r}): it has none of .zarray, zarr.json, "
            f"attributes.json and info; {holds}"
        )
    if identified is None:
        what = "is a group, not an array" if (container / name).is_dir() else "does not exist"
        held = list_datasets(container)
        holds = f"it holds {listing(held)}" if held else "it holds no arrays"
        raise ArrayNotFoundError(f"dataset {dataset!r} {what} in {container}; {holds}")
    found = StoredArray(container, name, *identified)
    check_sizes(found.where, found.format, found.header)
    _refuse_objects(found)
    return found


def list_datasets(container: Path, limit: int | None = MAX_LISTED) -> list[str]:
    """Return the sorted names of the arrays in a container; at most one more than a limit, as many as messages list."""
    names: list[str] = []
    for folder in _walk(container, 0):
        names.append(folder.relative_to(container).as_posix())
        if limit is not None and len(names) > limit:
            break
    return sorted(names)


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    if is_array(folder):
        yield folder
    # A server is not asked what it has, but an image says it.
    elif scales := multiscale_levels(folder) if is_url(folder) else precomputed_scales(folder):
        yield from (folder / scale for scale in scales)
    elif depth < MAX_DEPTH:
        for child in folders_in(folder):
            # Hidden folders hold records of blockwise operations, not data.
            if not child.name.startswith("."):
                yield from _walk(child, depth + 1)


def _refuse_objects(found: StoredArray) -> None:
    """Raise an error if the array holds Python objects, since decoding them may run code of the file's author."""
    header = found.header
    codecs = [header.get("compressor"), *(header.get("filters") or []), *(header.get("codecs") or [])]
    names = [str(codec.get("id", codec.get("name"))) for codec in codecs if isinstance(codec, Mapping)]
    unsafe = [name for name in names if "pickle" in name.lower()]
    kind = header.get("dtype")
    if unsafe or (kind is not None and _has_objects(kind)):
        reason = f"codec {unsafe[0]}" if unsafe else f"data type {kind}"
        raise UnsafeFileError(
            f"{found.where} stores Python objects ({reason}), which could run code when read; it was not opened. "
            "Write it again with a numeric data type"
        )


def _has_objects(kind: Any) -> bool:
    if isinstance(kind, str):
        return "O" in kind
    # A structured type is a list of [name, type] or [name, type, shape].
    return any(_has_objects(part[1]) for part in kind if isinstance(part, list) and len(part) > 1)


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


def read_checked(opened: Any, index: tuple[slice, ...]) -> np.ndarray[Any, Any]:
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


def numpy_dtype(opened: Any) -> np.dtype[Any]:
    """Return the data type of an array opened by :func:`open_stored`, in the byte order of this machine."""
    return native_dtype(getattr(opened.dtype, "numpy_dtype", opened.dtype))


def metadata_of(found: StoredArray, shape: tuple[int, ...], **overrides: Any) -> ArrayMetadata:
    """Read the position of an array in the world.

    Args:
        found: The array.
        shape: Its shape.
        **overrides: Values in place of those in the attributes; see :func:`.metadata_from`.

    Raises:
        MetadataError: If the attributes contradict each other or the shape.
    """
    return metadata_from(found.where, shape, _candidates(found), **overrides)


def stated_metadata(found: StoredArray) -> frozenset[str]:
    """Return which of ``axes``, ``voxel_size`` and ``offset`` the attributes of an array state."""
    return stated_in(_candidates(found))


def _candidates(found: StoredArray) -> Candidates:
    candidates = Candidates()
    if found.format == "n5":
        n5_candidates(found.where, [found.attributes, group_attributes(found.path.parent)], candidates)
    else:
        plain_candidates(found.where, found.attributes, candidates)
    names = found.header.get("dimension_names")
    if not candidates.axes and names and all(isinstance(name, str) and name for name in names):
        candidates.axes.append(("dimension_names", list(names)))
    _ome_above(found, candidates)
    return candidates


def _ome_above(found: StoredArray, candidates: Candidates) -> None:
    """Look for multiscales in the groups above an array, from the innermost up to the container."""
    parts = found.dataset.split("/") if found.dataset else []
    for depth in reversed(range(len(parts))):
        attributes = group_attributes(found.container.joinpath(*parts[:depth]))
        nested = attributes.get("ome")
        multiscales = (nested if isinstance(nested, Mapping) else attributes).get("multiscales")
        if multiscales and ome_candidates(found.where, multiscales, "/".join(parts[depth:]), candidates):
            return
