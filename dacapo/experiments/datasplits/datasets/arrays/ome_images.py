"""OME-NGFF metadata of arrays that this package writes: which arrays are the levels of one image.

Version 0.4 in containers of Zarr v2, and 0.5 in those of Zarr v3.

The array of a result stays where it was asked for. Its group lists it as the first level of an image, and its smaller
levels, which lie beside it, as the others. So ``container/dataset`` is an array for everyone who opens it by name, and
the group is an image for viewers. A group can list several images.

The images of a group ``labels`` are listed there, as the format requires of labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

from dacapo.utils.exact_numbers import plain_number

from .array import Array
from .axes import NON_SPATIAL_AXES, TIME_AXES
from .containers import ALIASES, dataset_name
from .zarr3_files import is_zarr3_group, read_attributes, update_attributes
from .zarr_files import create_zarr2_group

VERSION, VERSION_OF_ZARR3 = "0.4", "0.5"
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


def list_image(container: Path, levels: Sequence[tuple[str, Array]], method: str | None, is_labels: bool) -> None:
    """Write the metadata of an image to the group of its arrays, in place of what was there for it.

    Args:
        container: The Zarr container.
        levels: Dataset and array of each level, the finest first, all in one group.
        method: How levels are made: ``mean`` or ``mode``; None for a single level.
        is_labels: Whether values are labels.

    Raises:
        StorageError: If it cannot be written.
    """
    group = PurePosixPath(levels[0][0]).parent
    image = image_metadata([(PurePosixPath(name).name, array) for name, array in levels], method, is_labels)

    is_v3 = is_zarr3_group(container)
    version = {} if is_v3 else {"version": VERSION}

    def change(attributes: dict[str, Any]) -> None:
        own = _ome(attributes, is_v3)
        own["multiscales"] = [*_others(own, image["datasets"][0]["path"]), {**version, **image}]
        own.pop("image-label", None)
        if all(_is_ours(one) and one["metadata"]["is_labels"] for one in own["multiscales"]):
            own["image-label"] = {**version, **_source_image(container, group)}

    def add_name(attributes: dict[str, Any]) -> None:
        own = _ome(attributes, is_v3)
        own["labels"] = [*(name for name in own.get("labels", []) if name != group.name), group.name]

    if not is_v3:
        create_zarr2_group(container / group)  # arrays that were copied there make no group
    update_attributes(container / group, change)
    if is_labels and group.parent.name == "labels":
        update_attributes(container / group.parent, add_name)


def forget_image(container: Path, dataset: str) -> None:
    """Drop the image of this package that has a dataset as one of its levels, because that is about to change."""
    path, is_v3 = PurePosixPath(dataset), is_zarr3_group(container)
    own = _ome(read_attributes(container / path.parent), is_v3)
    if not dataset or len(_others(own, path.name)) == len(_images(own)):
        return

    def change(attributes: dict[str, Any]) -> None:
        own = _ome(attributes, is_v3)
        left = _others(own, path.name)
        own.pop("image-label", None)
        own.pop("multiscales", None)
        if left:
            own["multiscales"] = left
        elif is_v3 and set(own) == {"version"}:
            del attributes["ome"]  # a description of nothing is not valid

    update_attributes(container / path.parent, change)


def name_dataset(container: Path, alias: str, dataset: str) -> None:
    """Give a dataset another name, by which :func:`~.containers.find_array` finds it, too."""

    def change(attributes: dict[str, Any]) -> None:
        attributes[ALIASES] = {**attributes.get(ALIASES, {}), alias: dataset}

    update_attributes(container, change)


def image_metadata(levels: Sequence[tuple[str, Array]], method: str | None, is_labels: bool) -> dict[str, Any]:
    """Return the description of an image.

    Args:
        levels: Path below the group, and array, of each level, the finest first.
        method: How levels are made, None for a single level.
        is_labels: Whether values are labels.
    """
    first = levels[0][1]
    kind = {} if method is None else {"type": method}
    about = {} if method is None else {"description": _METHODS[method]}
    return {
        "name": levels[0][0],
        **kind,
        "axes": _axes(first),
        "datasets": [
            {"path": path, "coordinateTransformations": _transformations(array, first)} for path, array in levels
        ],
        "metadata": {"method": WRITER, **about, "is_labels": is_labels},
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
        array.world.in_shown(values) for values in (array.voxel_size, first.roi.offset, first.voxel_size)
    )
    moved = [o + (s - f) / 2 for o, s, f in zip(origin, scale, first_scale, strict=True)]
    return [
        {"type": "scale", "scale": _for_all_axes(array, scale, 1)},
        {"type": "translation", "translation": _for_all_axes(array, moved, 0)},
    ]


def _for_all_axes(array: Array, values: Sequence[Fraction], other: int) -> list[float]:
    spatial = iter(values)
    numbers = (Fraction(other) if axis in NON_SPATIAL_AXES else next(spatial) for axis in array.axes)
    return [float(plain_number(number)) for number in numbers]


def _ome(attributes: dict[str, Any], is_v3: bool) -> dict[str, Any]:
    """Return the part of attributes that the format is about."""
    own: dict[str, Any] = attributes.setdefault("ome", {"version": VERSION_OF_ZARR3}) if is_v3 else attributes
    return own


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
    above = _ome(read_attributes(container / group.parent.parent), is_zarr3_group(container))
    return {"source": {"image": "../../"}} if _images(above) else {}
