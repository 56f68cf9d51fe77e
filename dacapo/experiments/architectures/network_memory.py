"""How much memory a network takes, found out without computing or allocating anything."""

from __future__ import annotations

from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from dacapo.experiments.architectures.architecture import hollow_copy


class _Memory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Add up the tensors that are alive at every operation."""

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
        # Libraries copy what goes into a convolution and what comes out to the order of axes that they work in.
        inputs = [tensor for tensor in args[: _CONVOLUTIONS.get(func.overloadpacket, 0)] if tensor is not None]
        scratch = sum(tensor.untyped_storage().nbytes() for tensor in (*inputs, *made)) if inputs else 0
        self.peak = max(self.peak, sum(self._alive.values()) + scratch)
        return result


# With the number of their arguments that are as large as the data.
_CONVOLUTIONS = {torch.ops.aten.convolution: 1, torch.ops.aten.convolution_backward: 2}


def forward_bytes(module: torch.nn.Module, shape: tuple[int, ...]) -> int:
    """Return how many bytes a forward pass without gradients takes at most, the input included, the weights not.

    That is what is alive at any moment, and for a convolution once more what goes in and what comes out.

    Args:
        module: Takes and returns a tensor of the axes batch, channel, space.
        shape: Shape of the input, with batch and channels.

    Raises:
        NotImplementedError: If an operation of the module cannot tell the shape of its result without computing it.
    """
    hollow, memory = hollow_copy(module), _Memory()
    with memory, torch.no_grad():
        hollow(_empty(module, shape))
    return memory.peak


def training_bytes(module: torch.nn.Module, shape: tuple[int, ...]) -> int:
    """Return how many bytes a forward and a backward pass take at most, gradients included, the weights not.

    Counted as in :func:`forward_bytes`; what the loss and the optimizer take comes on top.

    Args:
        module: Takes and returns a tensor of the axes batch, channel, space.
        shape: Shape of the input, with batch and channels.

    Raises:
        NotImplementedError: If an operation of the module cannot tell the shape of its result without computing it.
    """
    hollow, memory = hollow_copy(module).train().requires_grad_(), _Memory()
    with memory, torch.enable_grad():
        hollow(_empty(module, shape)).sum().backward()
    return memory.peak


def _empty(module: torch.nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    return torch.zeros(shape, device="meta", dtype=dtype)
