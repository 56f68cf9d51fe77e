"""OME-NGFF metadata of arrays that this package writes: which arrays are the levels of one image.

The array of a result stays where it was asked for. Its group lists it as the first level of an image, and its smaller
levels, which lie beside it, as the others. So ``container/dataset`` is an array for everyone who opens it by name, and
the group is an image for viewers. A group can list several images.

The images of a group ``labels`` are listed there, as the format requires of labels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

from dacapo.store.files import atomic_path, storage_error
from dacapo.utils.exact_numbers import plain_number

from .array import Array
from .axes import NON_SPATIAL_AXES, TIME_AXES
from .containers import ALIASES, dataset_name
from .world import LENGTHS

VERSION = "0.4"
WRITER = "dacapo"
_METHODS = {
    "mean": "Mean of the voxels of the level before.",
    "mode": "Most frequent label among the voxels of the level before.",
}


def is_image(array: Array) -> bool:
    """Return whether the format has a place for an array: time, channels, then two or three axes of space."""
    kinds = [_kind(axis) for axis in array.axes]
    space = kinds.count("space")
    leading = kinds[: len(kinds) - space]
    return space in (2, 3) and leading in ([], ["time"], ["channel"], ["time", "channel"]) and "b" not in array.axes


def level_name(dataset: str, level: int) -> str:
    """Return the name of the dataset of a level.

    >>> level_name("volumes/cells", 2), level_name("cells/s0", 1), level_name("cells/0", 3), level_name("cells", 0)
    ('volumes/cells_s2', 'cells/s1', 'cells/3', 'cells')
    """
    path = PurePosixPath(dataset_name(dataset))
    if level == 0:
        return str(path)
    prefixes = {"s0": "s", "0": ""}
    prefix = prefixes.get(path.name, f"{path.name}_s")
    return str(path.with_name(f"{prefix}{level}"))


def list_image(container: Path, levels: Sequence[tuple[str, Array]], method: str, is_labels: bool) -> None:
    """Write the metadata of an image to the group of its arrays, in place of what was there for it.

    Args:
        container: The Zarr v2 container.
        levels: Dataset and array of each level, the finest first, all in one group.
        method: How levels are made: ``mean`` or ``mode``.
        is_labels: Whether values are labels.

    Raises:
        StorageError: If it cannot be written.
    """
    group = PurePosixPath(levels[0][0]).parent
    image = image_metadata([(PurePosixPath(name).name, array) for name, array in levels], method, is_labels)

    def change(attributes: dict[str, Any]) -> None:
        images = [*_others(attributes, image["datasets"][0]["path"]), image]
        attributes["multiscales"] = images
        attributes.pop("image-label", None)
        if all(_is_ours(one) and one["metadata"]["is_labels"] for one in images):
            attributes["image-label"] = {"version": VERSION, **_source_image(container, group)}

    _update(container / group, change)
    if is_labels and group.parent.name == "labels":
        _update(container / group.parent, lambda attributes: _add_name(attributes, group.name))


def forget_image(container: Path, dataset: str) -> None:
    """Drop the image of this package that has a dataset as one of its levels, because that is about to change."""
    path = PurePosixPath(dataset)
    file = container / path.parent / ".zattrs"
    if not dataset or not file.exists():
        return
    attributes = _read(file)
    if len(_others(attributes, path.name)) == len(_images(attributes)):
        return

    def change(attributes: dict[str, Any]) -> None:
        left = _others(attributes, path.name)
        attributes.pop("image-label", None)
        attributes.pop("multiscales", None)
        if left:
            attributes["multiscales"] = left

    _update(container / path.parent, change)


def name_dataset(container: Path, alias: str, dataset: str) -> None:
    """Give a dataset another name, by which :func:`~.containers.find_array` finds it, too."""

    def change(attributes: dict[str, Any]) -> None:
        attributes[ALIASES] = {**attributes.get(ALIASES, {}), alias: dataset}

    _update(container, change)


def image_metadata(levels: Sequence[tuple[str, Array]], method: str, is_labels: bool) -> dict[str, Any]:
    """Return the description of an image.

    Args:
        levels: Path below the group, and array, of each level, the finest first.
        method: How levels are made.
        is_labels: Whether values are labels.
    """
    first = levels[0][1]
    return {
        "version": VERSION,
        "name": levels[0][0],
        "type": method,
        "axes": _axes(first),
        "datasets": [
            {"path": path, "coordinateTransformations": _transformations(array, first)} for path, array in levels
        ],
        "metadata": {"method": WRITER, "description": _METHODS[method], "is_labels": is_labels},
    }


def _axes(array: Array) -> list[dict[str, str]]:
    units = iter(array.world.shown)
    axes = []
    for name in array.axes:
        axis = {"name": name, "type": _kind(name)}
        unit = "" if name in NON_SPATIAL_AXES else next(units)
        axes.append({**axis, "unit": unit} if unit else axis)
    return axes


def _kind(axis: str) -> str:
    if axis in NON_SPATIAL_AXES:
        return "channel"
    return "time" if axis.lower() in TIME_AXES else "space"


def _transformations(array: Array, first: Array) -> list[dict[str, Any]]:
    """Return scale and translation of a level.

    The first level begins at its offset. Others are moved by half of what their voxels grew, since viewers take
    translations to be centers of voxels; all corners coincide then.
    """
    scale, origin, first_scale = (
        _in_shown(array, values) for values in (array.voxel_size, first.roi.offset, first.voxel_size)
    )
    moved = [o + (s - f) / 2 for o, s, f in zip(origin, scale, first_scale, strict=True)]
    return [
        {"type": "scale", "scale": _for_all_axes(array, scale, 1)},
        {"type": "translation", "translation": _for_all_axes(array, moved, 0)},
    ]


def _in_shown(array: Array, values: Sequence[int]) -> list[Fraction]:
    """Return world coordinates in the units that are written."""
    world = array.world
    lengths = [None if size is None else LENGTHS.get(unit) for size, unit in zip(world.sizes, world.shown, strict=True)]
    return [
        Fraction(int(value), world.parts) if size is None or length is None else int(value) * size / length
        for value, size, length in zip(values, world.sizes, lengths, strict=True)
    ]


def _for_all_axes(array: Array, values: Sequence[Fraction], other: int) -> list[float]:
    spatial = iter(values)
    numbers = (Fraction(other) if axis in NON_SPATIAL_AXES else next(spatial) for axis in array.axes)
    return [float(plain_number(number)) for number in numbers]


def _images(attributes: dict[str, Any]) -> list[Any]:
    images = attributes.get("multiscales")
    return images if isinstance(images, list) else []


def _is_ours(image: Any) -> bool:
    metadata = image.get("metadata") if isinstance(image, dict) else None
    return isinstance(metadata, dict) and metadata.get("method") == WRITER


def _others(attributes: dict[str, Any], path: str) -> list[Any]:
    """Return the images of a group but those of this package that list a path."""
    return [
        image
        for image in _images(attributes)
        if not _is_ours(image) or all(level.get("path") != path for level in image.get("datasets", []))
    ]


def _source_image(container: Path, group: PurePosixPath) -> dict[str, Any]:
    """Return where the image of labels is, if their group lies in the ``labels`` of one."""
    if group.parent.name != "labels":
        return {}
    above = _read(container / group.parent.parent / ".zattrs")
    return {"source": {"image": "../../"}} if _images(above) else {}


def _add_name(attributes: dict[str, Any], name: str) -> None:
    attributes["labels"] = [*(one for one in attributes.get("labels", []) if one != name), name]


def _read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise storage_error("read", file, error) from error
    return found


def _update(group: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the attributes of a group of a Zarr v2 container, alone among all processes."""
    import fcntl
    import os

    file = group / ".zattrs"
    try:
        handle = os.open(group, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            attributes = _read(file)
            before = json.dumps(attributes)
            change(attributes)
            if json.dumps(attributes) != before:
                with atomic_path(file) as path:
                    path.write_text(json.dumps(attributes, indent=4))
        finally:
            os.close(handle)
    except OSError as error:
        raise storage_error("write", file, error) from error
