"""Values of tensors at positions between voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

# Voxels that are interpolated at a time on a CPU, so that intermediate values fit into its cache.
CHUNK = 1 << 17


def interpolate_linearly(
    values: torch.Tensor, positions: torch.Tensor, begin: Sequence[int] | None = None
) -> torch.Tensor:
    """Return linearly interpolated values; positions outside get the value at the border.

    Args:
        values: Shape (channels, *space), float32, in two or three dimensions.
        positions: Where to read, in voxels, shape (dims, *shape).
        begin: The position of the first voxel of ``values``; 0 by default.

    Returns:
        Shape (channels, *shape).
    """
    offset = _column(begin, positions)
    if values.device.type != "cpu":
        return _sample_grid(values, positions - offset)
    rows = max(1, CHUNK // max(1, math.prod(positions.shape[2:])))
    flat = values.flatten(start_dim=1)
    parts = [
        _interpolate(flat, values.shape[1:], positions[:, row : row + rows] - offset)
        for row in range(0, positions.shape[1], rows)
    ]
    return torch.cat(parts, dim=1)


def _interpolate(flat: torch.Tensor, shape: Sequence[int], positions: torch.Tensor) -> torch.Tensor:
    """Weigh the corners of the voxel around each position, axis by axis."""
    corner: torch.Tensor | None = None
    strides: list[int] = []
    fractions: list[torch.Tensor] = []
    for along, size in zip(positions, shape, strict=True):
        along = along.clamp_(0, size - 1)
        lower = along.floor().clamp_(max=max(size - 2, 0))
        fractions.append(along.sub_(lower).reshape(-1))
        index = lower.to(torch.int32 if flat.shape[1] < 2**31 else torch.int64).reshape(-1)
        corner = index if corner is None else corner.mul_(size).add_(index)
        strides = [s * size for s in strides] + [1]
    assert corner is not None
    strides = [stride if size > 1 else 0 for stride, size in zip(strides, shape, strict=True)]

    def between(channel: torch.Tensor, offset: int, axis: int) -> torch.Tensor:
        if axis == len(strides):
            return channel.index_select(0, corner + offset if offset else corner)
        near, far = (between(channel, offset + step, axis + 1) for step in (0, strides[axis]))
        return near.lerp_(far, fractions[axis])

    return torch.stack([between(channel, 0, 0) for channel in flat]).reshape(-1, *positions.shape[1:])


def _sample_grid(values: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Do the same with the operation of torch, which is fast on GPUs."""
    sizes = torch.tensor([max(n - 1, 1) for n in values.shape[1:]], dtype=positions.dtype, device=positions.device)
    scaled = positions * (2 / sizes).reshape(-1, *(1,) * (positions.ndim - 1)) - 1
    grid = scaled.flip(0).movedim(0, -1)  # torch counts axes from the last
    sampled = torch.nn.functional.grid_sample(
        values[None], grid[None], mode="bilinear", padding_mode="border", align_corners=True
    )
    return sampled[0]


def take_nearest(values: torch.Tensor, positions: torch.Tensor, begin: Sequence[int] | None = None) -> torch.Tensor:
    """Return the values of the nearest voxels, unchanged.

    Args:
        values: The last axes are space.
        positions: Where to read, in voxels, shape (dims, *shape).
        begin: The position of the first voxel of ``values``; 0 by default.

    Returns:
        The leading axes of ``values``, then those of ``shape``.
    """
    dims = len(positions)
    shape = values.shape[values.ndim - dims :]
    index: torch.Tensor | None = None
    for along, size, first in zip(positions, shape, begin or (0,) * dims, strict=True):
        nearest = nearest_voxels(along).sub_(first).clamp_(0, size - 1)
        whole = nearest.to(torch.int32 if math.prod(shape) < 2**31 else torch.int64)
        index = whole if index is None else index.mul_(size).add_(whole)
    assert index is not None
    flat = values.reshape(*values.shape[: values.ndim - dims], -1)
    return flat.index_select(-1, index.reshape(-1)).reshape(*flat.shape[:-1], *positions.shape[1:])


def nearest_voxels(positions: torch.Tensor) -> torch.Tensor:
    """Return the numbers of the voxels that positions lie in, as floating point numbers."""
    return (positions + 0.5).floor_()


def _column(begin: Sequence[int] | None, positions: torch.Tensor) -> torch.Tensor:
    """Return a position as a tensor to subtract from many."""
    first = torch.tensor(begin or (0,) * len(positions), dtype=positions.dtype, device=positions.device)
    return first.reshape(-1, *(1,) * (positions.ndim - 1))
