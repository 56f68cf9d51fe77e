"""Memory that the blocks of a prediction take, in as many processes as work on them."""

from __future__ import annotations

import math

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.experiments.architectures.network_memory import forward_bytes
from dacapo.experiments.block_plan import BlockPlan
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.model import Model
from dacapo.utils.memory import format_size
from dacapo.utils.memory_estimates import network_bytes, predicted_bytes


@attrs.frozen
class Budget:
    """The blocks and workers of a prediction, and their memory; sizes are in bytes.

    Attributes:
        plan: The layout of the blocks.
        num_workers: Number of processes that work at the same time.
        block_bytes: Memory of a block, on the device of the network and in main memory; None if it cannot be estimated.
        process_bytes: Memory of a process without its block.
        limit: Limit of all processes together, GPUs included; None if it is unknown.
        gpu_bytes: The part of the memory of a process that is on a GPU, weights included.
        gpu_limit: Limit of that part for each process; None if it is unknown.
    """

    plan: BlockPlan
    num_workers: int
    block_bytes: int | None
    process_bytes: int
    limit: int | None
    gpu_bytes: int = 0
    gpu_limit: int | None = None

    @property
    def each(self) -> int:
        """Memory of a process, without its block if that cannot be estimated."""
        return (self.block_bytes or 0) + self.process_bytes

    @property
    def total(self) -> int:
        """Memory of all processes together, without their blocks if these cannot be estimated."""
        return self.num_workers * self.each

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.plan.write_shape / self.plan.output_voxel_size))
        blocks = f"blocks of {shape} voxels in {self.num_workers} {'process' if self.num_workers == 1 else 'processes'}"
        if self.block_bytes is None:
            return f"{blocks}; their memory cannot be estimated"
        limit, gpu_limit = (
            "an unknown amount" if limit is None else format_size(limit) for limit in (self.limit, self.gpu_limit)
        )
        estimate = (
            f"{blocks} take about {format_size(self.total)} of memory ({format_size(self.block_bytes)} for a block, "
            f"{format_size(self.process_bytes)} for a process), {limit} may be used"
        )
        if not self.gpu_bytes:
            return estimate
        return f"{estimate}; {format_size(self.gpu_bytes)} per process are on a GPU, where {gpu_limit} may be used"


@attrs.frozen
class BlockCosts:
    """Estimates the memory of the blocks of a prediction.

    Attributes:
        model: The network.
        raw: The input.
        dtype: Data type of the stored prediction.
        process: Memory of a process without weights and blocks.
        on_gpu: Whether the network runs on a GPU.
    """

    model: Model
    raw: Array
    dtype: npt.DTypeLike
    process: int
    on_gpu: bool

    def of(self, plan: BlockPlan, num_workers: int = 1) -> Budget:
        """Return the budget of some processes, without limits."""
        weights: int = sum(parameter.nbytes for parameter in self.model.parameters())
        network, host = block_bytes(self.model, self.raw, plan, self.dtype)
        if not self.on_gpu:
            return Budget(plan, num_workers, network + host, self.process + weights, None)
        # Weights are read into main memory before they are copied to the GPU.
        return Budget(plan, num_workers, network + host, self.process + 2 * weights, None, network + weights)


def block_bytes(model: Model, raw: Array, plan: BlockPlan, dtype: npt.DTypeLike) -> tuple[int, int]:
    """Return the memory of a block on the device of the network, and in addition in main memory.

    Args:
        model: The network.
        raw: The input.
        plan: The layout of the blocks.
        dtype: Data type of the stored prediction.
    """
    shape = plan.read_shape / raw.voxel_size
    read: int = math.prod(shape) * model.num_in_channels
    written: int = math.prod(plan.write_shape / plan.output_voxel_size) * model.num_out_channels
    network = network_bytes(forward_bytes(model, (1, model.num_in_channels, *shape)))
    return network, predicted_bytes(read, np.dtype(raw.dtype).itemsize, written, np.dtype(dtype).itemsize)
