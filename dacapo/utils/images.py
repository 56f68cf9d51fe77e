"""Images of values: gray levels, colors of labels, and PNG files inside of pages."""

from __future__ import annotations

import base64
from typing import Any

import imageio.v3 as imageio
import numpy as np
import numpy.typing as npt

from dacapo.utils.label_colors import label_colors

Image = npt.NDArray[np.uint8]


def value_range(values: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the values to show as black and white: half a percent lie below, half a percent above.

    >>> value_range(np.array([True, False])), value_range(np.array([np.nan, np.inf]))
    ((0.0, 1.0), (0.0, 1.0))
    """
    finite = values[np.isfinite(values)]
    if values.dtype == bool or not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite.astype(np.float64), (0.5, 99.5))
    return float(low), float(high)


def gray_image(values: npt.NDArray[Any], low: float | None = None, high: float | None = None) -> Image:
    """Return values as gray levels.

    Args:
        values: Of any shape; NaN becomes black, infinity black or white.
        low: The value that is black, by default as in :func:`value_range`.
        high: The value that is white, likewise.
    """
    begin, end = value_range(values) if low is None or high is None else (low, high)
    begin, end = begin if low is None else low, end if high is None else high
    shares = (np.asarray(values, dtype=np.float64) - begin) / max(end - begin, 1e-12)
    return np.asarray(np.clip(np.nan_to_num(shares, posinf=1, neginf=0), 0, 1) * 255, dtype=np.uint8)


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
