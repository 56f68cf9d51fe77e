"""Make voxels of an array larger by whole factors: the mean for intensities, the most frequent value for labels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def downsample_mean(values: npt.NDArray[Any], factors: Sequence[int]) -> npt.NDArray[Any]:
    """Return the mean of each group of voxels; integers are rounded to the nearest.

    Args:
        values: Any shape.
        factors: Voxels per group along each axis. Groups at the end of an axis may be smaller.

    >>> downsample_mean(np.array([1, 2, 9]), [2])
    array([2, 9])
    """
    windows = _windows(values, factors)
    # Groups have few voxels, so a float32 sum of 16-bit integers is exact.
    exact = values.dtype.kind in "biu" and values.dtype.itemsize <= 2
    total = np.zeros(windows[0].shape, np.float32 if exact or values.dtype == np.float16 else np.float64)
    for window in windows:
        total += window
    total /= len(windows)
    if values.dtype.kind in "biu":
        np.rint(total, out=total)
    return total.astype(values.dtype)


def downsample_mode(values: npt.NDArray[Any], factors: Sequence[int]) -> npt.NDArray[Any]:
    """Return the most frequent value of each group of voxels; of equally frequent ones the lowest that is not 0.

    Args:
        values: Any shape.
        factors: Voxels per group along each axis. Groups at the end of an axis may be smaller.

    >>> downsample_mode(np.array([4, 0, 7, 7, 3]), [2])
    array([4, 7, 3])
    """
    windows = _windows(values, factors)
    result = windows[0].copy()
    differs = np.zeros(result.shape, bool)
    for window in windows[1:]:
        differs |= window != result
    # Most groups lie inside of one object, so few are left to count.
    result[differs] = _most_frequent([window[differs] for window in windows])
    return result


def _most_frequent(windows: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return the most frequent value at each position of several arrays."""
    # How often the value of each window occurs, doubled, so that a value other than 0 wins over 0.
    best, best_count = windows[0].copy(), np.zeros(windows[0].shape, np.int16)
    for window in windows:
        count = (window != 0).astype(np.int16)
        for other in windows:
            count += np.int16(2) * (window == other)
        better = (count > best_count) | ((count == best_count) & (window < best))
        best[better], best_count[better] = window[better], count[better]
    return best


METHODS: dict[str, Callable[[npt.NDArray[Any], Sequence[int]], npt.NDArray[Any]]] = {
    "mean": downsample_mean,
    "mode": downsample_mode,
}
"""The ways to make voxels larger, by name."""


def _windows(values: npt.NDArray[Any], factors: Sequence[int]) -> list[npt.NDArray[Any]]:
    """Return one array for each place inside a group, with the value at that place of every group.

    Smaller groups at the end repeat their last values.
    """
    missing = [(0, -size % factor) for size, factor in zip(values.shape, factors, strict=True)]
    if any(after for _, after in missing):
        values = np.pad(values, missing, mode="edge")
    places = itertools.product(*(range(factor) for factor in factors))
    return [
        values[tuple(slice(place, None, factor) for place, factor in zip(index, factors, strict=True))]
        for index in places
    ]
