"""Choose the block size of a prediction and the number of workers so that they fit into memory.

Larger blocks read less context for each voxel that they write, so blocks are as large as memory allows, up to a size
beyond which there is little to gain. :func:`~dacapo.experiments.architectures.network_memory.forward_bytes` and
:mod:`dacapo.utils.memory_estimates` estimate the memory of a block.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.compute_context import ComputeContext, create_compute_context, free_gpu_memory
from dacapo.errors import MemoryBudgetError
from dacapo.experiments.architectures.network_memory import forward_bytes
from dacapo.experiments.block_plan import BlockPlan, plan_blocks, round_up
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.model import Model
from dacapo.utils.memory import format_size, parse_size
from dacapo.utils.memory_estimates import (
    DEFAULT_BLOCK_BYTES,
    DEFAULT_SHARE,
    default_memory,
    network_bytes,
    predicted_bytes,
    process_bytes,
    steady_memory,
    unknown_network_bytes,
)

logger = logging.getLogger(__name__)

# Larger blocks gain little: this multiple of their context per axis, and at least this number of voxels, by dimensions.
_ENOUGH_CONTEXTS = 8
_ENOUGH_VOXELS = {1: 2**20, 2: 1024, 3: 128}
# With this number of blocks each, workers finish at about the same time.
_BLOCKS_PER_WORKER = 4


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
class _Limits:
    """Limits of memory in bytes; None stands for no limit, or an unknown one.

    Attributes:
        everything: Limit of all processes together, GPUs included.
        host: Returns the limit of a process in main memory, given the number of processes.
        gpu: Returns the limit of a process on its GPU, given the number of processes; None without GPUs.
        are_shared: Whether processes share the memory, so that each of fewer processes gets more.
    """

    everything: int | None
    host: Callable[[int], int | None]
    gpu: Callable[[int], int | None] | None
    are_shared: bool

    def are_known(self, num_workers: int) -> bool:
        """Return whether the memory that the network runs in has a known limit."""
        decisive = self.host if self.gpu is None else self.gpu
        return self.everything is not None or decisive(num_workers) is not None

    def allow(self, budget: Budget) -> bool:
        """Return whether a budget is within the limits."""
        number = budget.num_workers
        pairs = [(budget.total, self.everything), (budget.each - budget.gpu_bytes, self.host(number))]
        if self.gpu is not None:
            pairs.append((budget.gpu_bytes, self.gpu(number)))
        return all(limit is None or taken <= limit for taken, limit in pairs)

    def annotate(self, budget: Budget) -> Budget:
        """Return a budget with its limits filled in."""
        each = [self.host(budget.num_workers), 0 if self.gpu is None else self.gpu(budget.num_workers)]
        known = [limit for limit in each if limit is not None]
        together = None if len(known) < len(each) else budget.num_workers * sum(known)
        limits = [limit for limit in (self.everything, together) if limit is not None]
        return attrs.evolve(budget, limit=min(limits, default=None), gpu_limit=each[1] if self.gpu else None)


@attrs.frozen
class _Costs:
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


def plan_within(
    model: Model,
    raw: Array,
    output_roi: Roi | None = None,
    *,
    dtype: npt.DTypeLike = np.uint8,
    num_workers: int = 1,
    max_memory: str | int | None = None,
    context: ComputeContext | None = None,
    here: bool = False,
) -> Budget:
    """Choose the largest blocks that fit into memory, and as many workers as fit.

    Without a limit, an ``eval_shape_increase`` of the architecture determines the block size, unless all the memory
    that is free does not suffice. If the memory of the machine or GPU that runs the network is unknown, the input shape
    of the network does.

    Args:
        model: The network.
        raw: The input.
        output_roi: Region to predict in world units, by default the whole of ``raw``.
        dtype: Data type of the stored prediction.
        num_workers: Maximum number of processes; 1 stands for this one, unless the context distributes workers.
        max_memory: Limit of all processes together, GPUs included, such as ``"8GB"``. The default is half of the free
            memory of this machine. On CPUs it is at most 2 GB for the block of each process, and blocks follow from
            half of all memory as long as that much is free, so that they are the same each time. A cluster job never
            takes more than its ``memory``. At most half of the free memory of a GPU is used, divided by the processes
            that share it; a job uses half of its ``gpu_memory``, or else of the free memory of this machine's GPU.
        context: Where the processes run, by default that of the options.
        here: Whether they are this process, or those that train together with it, whatever the context.

    Raises:
        MemoryBudgetError: If not even the smallest block fits; the message says how much memory is enough. Without a
            limit, if it exceeds all memory that is free on this machine.
        ConfigError: If a limit is given, and the memory of the network cannot be estimated.
        DacapoError: If the network does not fit the volume; see :func:`.plan_blocks`.
    """
    context = context or create_compute_context()
    alone = num_workers == 1 and (here or not context.distribute_workers)
    process = process_bytes(is_this_one=alone)
    is_remote = context.local_cores is None and not (here or alone)
    on_gpu = context.has_gpus if is_remote else context.device.type == "cuda"
    costs = _Costs(model, raw, dtype, process, on_gpu)
    plan = plan_blocks(model, raw, output_roi)
    try:
        default = costs.of(plan, num_workers)
    except (NotImplementedError, RuntimeError) as error:
        if max_memory is not None:
            raise unknown_network_bytes(error) from error
        return Budget(plan, num_workers, None, process, None)
    limits = _limits(max_memory, default, context, is_remote, on_gpu, default_memory)
    utmost = _limits(max_memory, default, context, is_remote, on_gpu, functools.partial(default_memory, 1.0), share=1.0)
    is_fixed = model.architecture.has_fixed_shape
    is_decided = is_fixed or any(model.architecture.eval_shape_increase)
    if max_memory is None:
        if not limits.are_known(num_workers) or (is_decided and utmost.allow(default)):
            return utmost.annotate(default)
        if is_decided and not is_fixed:
            logger.warning("%s; blocks become smaller than eval_shape_increase makes them", utmost.annotate(default))
    smallest = default
    if not is_fixed:
        smallest = costs.of(plan_blocks(model, raw, output_roi, write_shape=_least_shape(model, raw)))
    if max_memory is None and not is_fixed and not on_gpu and not is_remote:
        steady = _steady_plan(costs, plan, smallest.plan, num_workers, context)
        budget = None if steady is None else _for_most_workers(costs.of(steady), num_workers, limits)
        if budget is not None and utmost.allow(budget):
            return utmost.annotate(budget)
    smallest = limits.annotate(_for_most_workers(smallest, num_workers, limits))
    if not limits.allow(smallest):
        return _too_large(smallest, limits, utmost)
    return smallest if is_fixed else _largest(smallest, limits, costs)


def _steady_plan(
    costs: _Costs, default: BlockPlan, least: BlockPlan, num_workers: int, context: ComputeContext
) -> BlockPlan | None:
    """Return a plan that is the same each time on the same machine, None if its memory does not suffice.

    It does not depend on what is free at the moment: a network rounds differently in blocks of other shapes, which can
    change a segmentation of its prediction.
    """
    costs = attrs.evolve(costs, process=process_bytes(is_this_one=False))
    limits = _limits(None, costs.of(default), context, False, False, steady_memory)
    smallest = _for_most_workers(costs.of(least), num_workers, limits)
    return _largest(smallest, limits, costs).plan if limits.allow(smallest) else None


def _for_most_workers(smallest: Budget, num_workers: int, limits: _Limits) -> Budget:
    """Return the smallest budget with as many of the workers as the limits allow."""
    for number in range(num_workers, 0, -1):
        budget = attrs.evolve(smallest, num_workers=number)
        if limits.allow(budget):
            return budget
    most = num_workers if limits.everything is None else limits.everything // smallest.each
    return attrs.evolve(smallest, num_workers=1 if limits.are_shared else max(1, min(num_workers, most)))


def _too_large(smallest: Budget, limits: _Limits, utmost: _Limits) -> Budget:
    """Return the smallest budget although it exceeds the default limits.

    Raises:
        MemoryBudgetError: If it exceeds a given limit, or all free memory of this machine.
    """
    least = f"{smallest}; this network and volume need at least that"
    if limits.everything is not None and smallest.total > limits.everything:
        raise MemoryBudgetError(f"{least}, so allow {format_size(smallest.total)}")
    if utmost.are_shared and not utmost.allow(smallest):
        raise MemoryBudgetError(f"{least}, which is more than is free here; use a machine with more memory")
    logger.warning("%s", least)
    return smallest


def _largest(smallest: Budget, limits: _Limits, costs: _Costs) -> Budget:
    """Return the budget with the largest blocks for the workers of the smallest one, which is allowed."""
    least, num_workers = smallest.plan, smallest.num_workers
    most = _most_shape(costs.model, costs.raw, least)
    counts = [-(-extent // step) for extent, step in zip(least.output_roi.shape, most, strict=True)]
    _split_for_workers(counts, least, num_workers)
    while True:
        shape = _block_shape(least, counts)
        plan = plan_blocks(costs.model, costs.raw, least.output_roi, write_shape=shape)
        budget = limits.annotate(costs.of(plan, num_workers))
        if limits.allow(budget) or not _split_longest(counts, shape, least):
            return budget


def _limits(
    max_memory: str | int | None,
    default: Budget,
    context: ComputeContext,
    is_remote: bool,
    on_gpu: bool,
    measure: Callable[[], int | None],
    share: float = DEFAULT_SHARE,
) -> _Limits:
    """Return the limits of a prediction.

    Args:
        max_memory: Limit of all processes together, if one is given.
        default: The budget that the architecture determines.
        context: Where the processes run.
        is_remote: Whether they run on other machines.
        on_gpu: Whether they run on GPUs.
        measure: Returns the memory of all processes on this machine without a given limit; None if it is unknown.
        share: Part of the free memory of a GPU to use; with all of it, blocks have no limit of their own.
    """
    everything = None if max_memory is None else parse_size(max_memory)
    most = None if on_gpu or share == 1 else default.process_bytes + DEFAULT_BLOCK_BYTES
    # Measured once, so that all comparisons use the same number.
    usable = None if is_remote or everything is not None else measure()

    def host(num_workers: int) -> int | None:
        if is_remote:
            return context.worker_memory
        shares = [most, None if usable is None else usable // num_workers]
        return None if usable is None else min(share for share in shares if share is not None)

    known: dict[int, int | None] = {}

    def gpu(num_workers: int) -> int | None:
        if num_workers not in known:
            there = context.free_gpu_memory(num_workers) if is_remote else free_gpu_memory(context.device, num_workers)
            known[num_workers] = None if there is None else int(share * there)
        return known[num_workers]

    return _Limits(everything, host, gpu if on_gpu else None, not is_remote)


def _least_shape(model: Model, raw: Array) -> Coordinate:
    """Return the smallest useful block: the output shape of training."""
    stride = model.architecture.stride * raw.voxel_size
    output = model.output_shape * model.scale(raw.voxel_size)
    return Coordinate(max(step, extent // step * step) for step, extent in zip(stride, output, strict=True))


def _most_shape(model: Model, raw: Array, least: BlockPlan) -> Coordinate:
    halo = model.receptive_halo * raw.voxel_size
    usual = model.scale(raw.voxel_size) * _ENOUGH_VOXELS.get(raw.dims, 128)
    wanted = Coordinate(max(_ENOUGH_CONTEXTS * reach, extent) for reach, extent in zip(halo, usual, strict=True))
    return Coordinate(map(max, least.write_shape, round_up(wanted, least.step)))


def _block_shape(least: BlockPlan, counts: list[int]) -> Coordinate:
    """Return the shape of blocks that divide the region evenly, but at least the smallest shape."""
    even = Coordinate(-(-extent // count) for extent, count in zip(least.output_roi.shape, counts, strict=True))
    shape = round_up(even, least.step)
    return Coordinate(
        min(max(want, small), extent)
        for want, small, extent in zip(shape, least.write_shape, least.output_roi.shape, strict=True)
    )


def _split_longest(counts: list[int], shape: Coordinate, least: BlockPlan) -> bool:
    """Divide blocks once more along the longest axis, in voxels, that can be divided; return whether one can be."""
    voxels = shape / least.output_voxel_size
    able = [axis for axis in range(len(counts)) if shape[axis] > least.write_shape[axis]]
    if not able:
        return False
    counts[max(able, key=lambda axis: voxels[axis])] += 1
    return True


def _split_for_workers(counts: list[int], least: BlockPlan, num_workers: int) -> None:
    """Divide blocks until every worker has some."""
    while num_workers > 1 and math.prod(counts) < _BLOCKS_PER_WORKER * num_workers:
        if not _split_longest(counts, _block_shape(least, counts), least):
            return
