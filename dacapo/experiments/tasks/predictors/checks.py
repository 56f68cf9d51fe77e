"""Checks of ground truth and masks by their metadata."""

from __future__ import annotations

from typing import Any

import numpy as np

from dacapo.errors import ChannelMismatchError, DtypeError
from dacapo.utils.wording import in_channels


def check_label_channels(dtype: np.dtype[Any], channels: int, expected: int) -> None:
    """Check the type and the number of channels of ground truth.

    Raises:
        DtypeError: If the values are neither integers nor bool.
        ChannelMismatchError: If the number of channels differs.
    """
    if dtype.kind not in "biu":
        raise DtypeError(f"ground truth has data type {dtype}; labels must be integers or bool, convert them")
    if channels != expected:
        raise ChannelMismatchError(
            f"ground truth has {in_channels(channels)}, but the task is about {expected}; "
            "make them the same, for example with a BinarizeArrayConfig that has one grouping per channel"
        )


def check_mask_channels(channels: int, expected: int) -> None:
    """Check the number of channels of a mask.

    Raises:
        ChannelMismatchError: If it has several, but not as many as expected.
    """
    if channels not in (1, expected):
        wanted = "one" if expected == 1 else f"one, or {expected} as in the target"
        raise ChannelMismatchError(f"the mask has {in_channels(channels)}; expected {wanted}")
