"""Arrays of any type as tensors over the same memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def as_tensor(values: npt.NDArray[Any]) -> torch.Tensor:
    """Return values as a contiguous tensor, over the same memory if possible; unsigned integers as signed ones.

    The bits are the same, so equality and 0 mean the same. Torch can do little with unsigned integers of more than 8
    bits.
    """
    return as_strided_tensor(np.ascontiguousarray(values))


def as_strided_tensor(values: npt.NDArray[Any]) -> torch.Tensor:
    """Return values as :func:`as_tensor` does, but do not copy those that are not contiguous."""
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype.kind == "u" and values.dtype.itemsize > 1:
        values = values.view(f"i{values.dtype.itemsize}")
    if not values.flags.writeable or min(values.strides, default=0) < 0:  # torch has no such tensors
        values = values.copy()
    return torch.from_numpy(values)


def as_array(values: torch.Tensor, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Undo :func:`as_tensor`, for values that had the given type."""
    array: npt.NDArray[Any] = np.ascontiguousarray(values.cpu().numpy())
    return array.view(np.dtype(dtype).newbyteorder("="))


def is_set(values: torch.Tensor) -> torch.Tensor:
    """Return where values are not 0, as bool; on a CPU with numpy, which is many times as fast."""
    return torch.from_numpy(values.numpy() != 0) if values.device.type == "cpu" else values != 0
