"""Estimate the memory of a network without computing or allocating anything."""

from __future__ import annotations

from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from dacapo.experiments.architectures.architecture import hollow_copy, hollow_input


class _Memory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Track the total size of all live tensors at every operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak: int = 0
        self._alive: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = [t for t in (result if isinstance(result, (tuple, list)) else (result,)) if isinstance(t, torch.Tensor)]
        for tensor in made:
            storage = tensor.untyped_storage()
            self._alive[StorageWeakRef(storage)] = storage.nbytes()  # type: ignore[no-untyped-call]
        self._alive = {storage: size for storage, size in self._alive.items() if not storage.expired()}  # type: ignore[no-untyped-call]
        # Libraries copy the input and output of a convolution to the memory layout that they work in.
        inputs = [tensor for tensor in args[: _CONVOLUTIONS.get(func.overloadpacket, 0)] if tensor is not None]
        scratch = sum(tensor.untyped_storage().nbytes() for tensor in (*inputs, *made)) if inputs else 0
        self.peak = max(self.peak, sum(self._alive.values()) + scratch)
        return result


# With the number of their arguments of the size of the data.
_CONVOLUTIONS = {torch.ops.aten.convolution: 1, torch.ops.aten.convolution_backward: 2}


def forward_bytes(module: torch.nn.Module, shape: tuple[int, ...]) -> int:
    """Return the peak memory of a forward pass without gradients in bytes, with the input and without the weights.

    It counts all live tensors, and for a convolution additional copies of its input and output.

    Args:
        module: Takes and returns a tensor with the axes batch, channel, space.
        shape: Shape of the input, with batch and channels.

    Raises:
        NotImplementedError: If an operation of the module cannot trace the shape of its result.
    """
    hollow, memory = hollow_copy(module), _Memory()
    with memory, torch.no_grad():
        hollow(hollow_input(module, shape))
    return memory.peak


def training_bytes(module: torch.nn.Module, shape: tuple[int, ...]) -> int:
    """Return the same as :func:`forward_bytes` for a forward and a backward pass, with gradients.

    The memory of the loss and the optimizer is extra.
    """
    hollow, memory = hollow_copy(module).train().requires_grad_(), _Memory()
    with memory, torch.enable_grad():
        hollow(hollow_input(module, shape)).sum().backward()
    return memory.peak
