"""Bring the channel axis of an array to the front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Roi

from .array import Array
from .reading import Read, read_all


def channels_first(values: npt.NDArray[Any], channel_axis: int | None, add_missing: bool = True) -> npt.NDArray[Any]:
    """Move the channel axis to the front.

    Args:
        values: Values with at most one channel axis.
        channel_axis: Its position, or None if ``values`` has none.
        add_missing: Whether to add a missing channel axis of length 1.

    Returns:
        A view of ``values``.
    """
    if channel_axis is not None:
        return np.moveaxis(values, channel_axis, 0)
    return values[np.newaxis] if add_missing else values


def read_channels_first(array: Array, roi: Roi | None = None, add_missing: bool = True) -> npt.NDArray[Any]:
    """Read an array with its channel axis in front.

    Args:
        array: The array to read.
        roi: World units; by default the roi of the array.
        add_missing: Whether to add a channel axis of length 1 where the array has none.
    """
    values = np.asarray(array[array.roi if roi is None else roi])
    return channels_first(values, array.channel_axis, add_missing)


def read_all_channels_first(reads: Sequence[Read]) -> list[npt.NDArray[Any]]:
    """Read several regions concurrently, each with the channel axis of its array, if it has one, in front."""
    values = read_all(reads)
    return [
        channels_first(v, read.array.channel_axis, add_missing=False) for v, read in zip(values, reads, strict=True)
    ]
