"""Groups of Zarr v3 containers, and the OME-NGFF 0.5 metadata that makes an image of an array."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.datasplits.datasets.arrays.ome_images import image_metadata, is_image
from dacapo.store.files import write_text

VERSION = "0.5"


def list_image_v3(container: Path, dataset: str, array: Array, is_labels: bool) -> None:
    """Make groups of the folders above an array, and list it as an image in the innermost.

    Args:
        container: The container.
        dataset: The array inside it.
        array: The array.
        is_labels: Whether values are labels.
    """
    inside = PurePosixPath(dataset)
    for depth in range(len(inside.parts)):
        _update_group(container.joinpath(*inside.parts[:depth]), {})
    if not is_image(array):
        return
    group = container / inside.parent
    image = image_metadata([(inside.name, array)], "mode" if is_labels else "mean", is_labels)
    del image["version"]  # version 0.5 has it beside the images
    ome = _read(group / "zarr.json").get("attributes", {}).get("ome", {})
    others = [one for one in ome.get("multiscales", []) if one["datasets"][0]["path"] != inside.name]
    images = [*others, image]
    kept = {key: value for key, value in ome.items() if key != "image-label"}
    all_labels = all(one.get("metadata", {}).get("is_labels") for one in images)
    labels: dict[str, Any] = {"image-label": {}} if all_labels else {}
    _update_group(group, {"ome": {**kept, "version": VERSION, "multiscales": images, **labels}})


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def _update_group(folder: Path, attributes: dict[str, Any]) -> None:
    found = _read(folder / "zarr.json")
    merged = {**found.get("attributes", {}), **attributes}
    write_text(
        folder / "zarr.json",
        json.dumps({"zarr_format": 3, "node_type": "group", "attributes": merged}, indent=2),
    )
