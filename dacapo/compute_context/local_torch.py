"""Workers on this machine."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from dacapo.compute_context.compute_context import ComputeContext
from dacapo.utils.cores import usable_cores

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_GIB = 1 << 30
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@attrs.define
class LocalTorch(ComputeContext):
    """Run workers on this machine, and the network on its GPU if it has one with enough free memory."""

    _device: str | None = attrs.field(
        default=None,
        metadata={"help_text": "Device for the network, such as 'cpu' or 'cuda:1'; automatic by default."},
    )
    oom_limit: float | int | None = attrs.field(
        default=4.2,
        metadata={"help_text": "Use the GPU only if this number of GiB of its memory is free or held by this process."},
    )

    @property
    def local_cores(self) -> int:
        """Number of cores that this process may use."""
        return usable_cores()

    @property
    def local_gpus(self) -> int:
        """Number of GPUs that workers take in turn, 0 if the config names a device."""
        # PyTorch, which knows how many GPUs are usable, takes long to import, and is needed only for several devices.
        if self._device not in (None, "cuda") or len(list(Path("/dev").glob("nvidia[0-9]*"))) < 2:
            return 0
        import torch

        return torch.cuda.device_count()

    @property
    def scheduler_host(self) -> str:
        """This machine, so that others cannot connect."""
        return "127.0.0.1"

    def worker_environment(self, worker: int) -> dict[str, str]:
        """Return the variables that let a worker see one of several GPUs, unless the config names a device.

        Args:
            worker: Number of the worker among the living ones; they get the GPUs in turn.
        """
        return one_gpu(worker, self.local_gpus, os.environ.get(_VISIBLE))

    @property
    def device(self) -> torch.device:
        """The device for the network.

        Raises:
            RuntimeError: If the config names a device that PyTorch does not know.
        """
        import torch

        if self._device is not None:
            return torch.device(self._device)
        if not torch.cuda.is_available():
            return torch.device("cpu")
        # The memory of this process counts as free, so that the choice stays the same once the network is on the GPU.
        available = (torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()) / _GIB
        if self.oom_limit is not None and available < self.oom_limit:
            logger.warning(
                "using the CPU: only %.1f GiB of GPU memory are free, oom_limit is %s", available, self.oom_limit
            )
            return torch.device("cpu")
        return torch.device("cuda")


def one_gpu(worker: int, num_gpus: int, visible: str | None) -> dict[str, str]:
    """Return the variables that let a worker see a single GPU, or no variables without a choice.

    Args:
        worker: Number of the worker.
        num_gpus: Number of GPUs that this process can use.
        visible: Their ids, in the form of ``CUDA_VISIBLE_DEVICES``; None for all.
    """
    if num_gpus < 2:
        return {}
    names = [str(index) for index in range(num_gpus)] if visible is None else visible.split(",")
    return {_VISIBLE: names[worker % num_gpus].strip()}
