"""Snapshots of batches as images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.store.create_store import create_array_store
from dacapo.utils.images import gray_image, label_image

if TYPE_CHECKING:
    from dacapo.experiments.run import Run

_COLORS = 3


def snapshot_images(run: Run, iteration: int) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the middle section of the first sample of a snapshot, by name.

    Raw data is gray and ground truth in colors. Of target and prediction, the first three channels are red, green and
    blue; with fewer, the first one is gray.

    Returns:
        Images with the axes y, x, and maybe color; none if the snapshot was deleted.
    """
    container = create_array_store().snapshot_container(run.name)
    images: dict[str, npt.NDArray[np.uint8]] = {}
    for name in ("raw", "gt", "target", "prediction"):
        identifier = container.array_identifier(f"{iteration}/{name}")
        if not (identifier.container / identifier.dataset).exists():
            continue
        section = _section(ZarrArray.open_from_array_identifier(identifier, mode="r"))
        if name == "gt":
            images[name] = label_image(section[0])
        else:
            shown = section[:_COLORS] if len(section) >= _COLORS and name != "raw" else section[:1]
            pictures = [gray_image(channel) for channel in shown]
            images[name] = pictures[0] if len(pictures) == 1 else np.stack(pictures, axis=-1)
    return images


def _section(array: Array) -> npt.NDArray[Any]:
    """Return the middle of the first sample, axes channel, y, x."""
    values: npt.NDArray[Any] = array[array.roi][0]  # the first axis is the batch
    if values.ndim == array.dims:
        values = values[np.newaxis]
    return values if array.dims == 2 else values[:, values.shape[1] // 2]
