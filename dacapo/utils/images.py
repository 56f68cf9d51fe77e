"""Images of values: gray levels, colors of labels, and PNG files inside of pages."""

from __future__ import annotations

import base64
from typing import Any

import imageio.v3 as imageio
import numpy as np
import numpy.typing as npt

from dacapo.utils.label_colors import label_colors

Image = npt.NDArray[np.uint8]


def gray_image(values: npt.NDArray[Any], low: float | None = None, high: float | None = None) -> Image:
    """Return values as gray levels.

    Args:
        values: Of any shape; what is not finite becomes black or white.
        low: The value that is black, by default one that half a percent lie below.
        high: The value that is white, by default one that half a percent lie above.
    """
    numbers = np.nan_to_num(values.astype(np.float64))
    begin = np.percentile(numbers, 0.5) if low is None else low
    end = np.percentile(numbers, 99.5) if high is None else high
    return np.asarray(np.clip((numbers - begin) / max(end - begin, 1e-12) * 255, 0, 255), dtype=np.uint8)


def label_image(labels: npt.NDArray[Any]) -> Image:
    """Return labels in colors, with red, green and blue along a last axis; 0 is black. Fractions become gray levels."""
    if labels.dtype.kind == "f":
        return gray_image(labels)
    return np.asarray(label_colors(labels) * 255, dtype=np.uint8)


def overlay_image(labels: npt.NDArray[Any]) -> Image:
    """Return labels in colors that can be laid over another image: 0 is transparent, along a last axis of four."""
    alpha = np.where(labels > 0, 255, 0).astype(np.uint8)
    return np.concatenate([(label_colors(labels) * 255).astype(np.uint8), alpha[..., np.newaxis]], axis=-1)


def png_address(image: Image) -> str:
    """Return an image as the address of a PNG file inside of a page, for ``src``."""
    png: Any = imageio.imwrite("<bytes>", image, extension=".png")
    return "data:image/png;base64," + base64.b64encode(png).decode()
