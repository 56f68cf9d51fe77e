"""Find arrays in containers: Zarr v2 and v3, N5 and neuroglancer precomputed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dacapo.errors import ArrayNotFoundError, ConfigError, UnsafeFileError
from dacapo.utils.paths import is_url, shown

from .foreign import check_sizes, metadata_errors
from .places import folders_in, has_file, read_json
from .precomputed import precomputed_scale, precomputed_scales
from .stored_array import StoredArray

ALIASES = "dacapo_names"
"""Attribute of a container: earlier names of its datasets."""
MAX_LISTED = 20
MAX_DEPTH = 8


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
