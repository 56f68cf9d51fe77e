"""How tensors lie in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Memory layouts that keep the channels of a voxel together, by the number of axes (batch, channel, space).
LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


@contextmanager
def kept_layout(module: torch.nn.Module) -> Iterator[None]:
    """Give the parameters of a module the memory layout back that they had before a ``with`` block.

    Sums are rounded differently in another layout, so a training must not depend on whether it was validated.
    """
    before = [(parameter, parameter.stride()) for parameter in module.parameters()]
    try:
        yield
    finally:
        for parameter, stride in before:
            if parameter.stride() != stride:
                values = torch.empty_strided(parameter.shape, stride, dtype=parameter.dtype, device=parameter.device)
                parameter.data = values.copy_(parameter.data)
