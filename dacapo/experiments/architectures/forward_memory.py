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
        scratch = 0
        if func.overloadpacket in (torch.ops.aten.convolution, torch.ops.aten._convolution):
            # Libraries copy what goes in and what comes out to the order of axes that they work in.
            scratch = sum(tensor.untyped_storage().nbytes() for tensor in (args[0], *made))
        self.peak = max(self.peak, sum(self._alive.values()) + scratch)
        return result


def forward_bytes(module: torch.nn.Module, shape: tuple[int, ...]) -> int:
    """Return how many bytes a forward pass without gradients takes at most, the input included, the weights not.

    That is what is alive at any moment, and for a convolution once more what goes in and what comes out.

    Args:
        module: Takes and returns a tensor of the axes batch, channel, space.
        shape: Shape of the input, with batch and channels.

    Raises:
        NotImplementedError: If an operation of the module cannot tell the shape of its result without computing it.
    """
    hollow = hollow_copy(module)
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    memory = _Memory()
    with memory, torch.no_grad():
        hollow(torch.zeros(shape, device="meta", dtype=dtype))
    return memory.peak
