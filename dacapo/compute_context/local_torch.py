"""Workers on this machine."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from dacapo.compute_context.compute_context import ComputeContext

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_GIB = 1 << 30
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@attrs.define
class LocalTorch(ComputeContext):
    """Runs workers on this machine, the network on its GPU where there is one with enough free memory."""

    _device: str | None = attrs.field(
        default=None, metadata={"help_text": "Device for the network, such as 'cpu' or 'cuda:1'; chosen if left out."}
    )
    oom_limit: float | int | None = attrs.field(
        default=4.2,
        metadata={
            "help_text": "The GPU is used if at least so many GiB of its memory are free or held by this process."
        },
    )

    @property
    def local_cores(self) -> int:
        """Number of cores that this process may use."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @property
    def local_gpus(self) -> int:
        """Number of GPUs that workers take in turn, 0 if the config names a device."""
        # Without two of these there is no need to wait for PyTorch, which knows how many GPUs can be used.
        if self._device not in (None, "cuda") or len(list(Path("/dev").glob("nvidia[0-9]*"))) < 2:
            return 0
        import torch

        return torch.cuda.device_count()

    @property
    def scheduler_host(self) -> str:
        """This machine; nobody else is let in."""
        return "127.0.0.1"

    def worker_environment(self, worker: int) -> dict[str, str]:
        """Return the variables that leave a worker one of several GPUs, unless the config names a device.

        Args:
            worker: Its number among those that live; GPUs are handed out in turn.
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
        # What this process holds counts as free, so that the choice does not flip once the network is on the GPU.
        available = (torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()) / _GIB
        if self.oom_limit is not None and available < self.oom_limit:
            logger.warning(
                "using the CPU: only %.1f GiB of GPU memory are free, oom_limit is %s", available, self.oom_limit
            )
            return torch.device("cpu")
        return torch.device("cuda")


def one_gpu(worker: int, num_gpus: int, visible: str | None) -> dict[str, str]:
    """Return the variables with which a worker sees one GPU only, or none where there is no choice.

    Args:
        worker: Number of the worker.
        num_gpus: How many GPUs this process can use.
        visible: Which they are, as ``CUDA_VISIBLE_DEVICES`` says it; None for all.
    """
    if num_gpus < 2:
        return {}
    names = [str(index) for index in range(num_gpus)] if visible is None else visible.split(",")
    return {_VISIBLE: names[worker % num_gpus].strip()}
