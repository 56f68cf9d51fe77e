"""Choose the block size of a prediction and the number of workers so that they fit into memory.

Larger blocks read less context for each voxel that they write, so blocks are as large as memory allows, up to a size
beyond which there is little to gain. :func:`~dacapo.experiments.architectures.network_memory.forward_bytes` and
:mod:`dacapo.utils.memory_estimates` estimate the memory of a block.
"""

from __future__ import annotations

import functools
import logging

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.compute_context import ComputeContext, Step, create_compute_context
from dacapo.errors import MemoryBudgetError
from dacapo.experiments.block_plan import BlockPlan, plan_blocks, round_up
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.model import Model
from dacapo.inference.block_costs import BlockCosts, Budget, block_bytes
from dacapo.inference.block_division import block_shape, least_shape, split_for_workers, split_longest
from dacapo.inference.memory_limits import MemoryLimits, limits_of
from dacapo.utils.memory import format_size
from dacapo.utils.memory_estimates import (
    default_memory,
    process_bytes,
    steady_memory,
    unknown_network_bytes,
)

__all__ = ["Budget", "block_bytes", "plan_within"]

logger = logging.getLogger(__name__)

# Larger blocks gain little: this multiple of their context per axis, and at least this number of voxels, by dimensions.
_ENOUGH_CONTEXTS = 8
_ENOUGH_VOXELS = {1: 2**20, 2: 1024, 3: 128}


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
    context = context or create_compute_context(step=Step.PREDICT)
    alone = num_workers == 1 and (here or not context.distribute_workers)
    process = process_bytes(is_this_one=alone)
    is_remote = context.local_cores is None and not (here or alone)
    on_gpu = context.has_gpus if is_remote else context.device.type == "cuda"
    costs = BlockCosts(model, raw, dtype, process, on_gpu)
    plan = plan_blocks(model, raw, output_roi)
    try:
        default = costs.of(plan, num_workers)
    except (NotImplementedError, RuntimeError) as error:
        if max_memory is not None:
            raise unknown_network_bytes(error) from error
        return Budget(plan, num_workers, None, process, None)
    limits = limits_of(max_memory, default, context, is_remote, on_gpu, default_memory)
    utmost = limits_of(
        max_memory, default, context, is_remote, on_gpu, functools.partial(default_memory, 1.0), share=1.0
    )
    is_fixed = model.architecture.has_fixed_shape
    is_decided = is_fixed or any(model.architecture.eval_shape_increase)
    if max_memory is None:
        if not limits.are_known(num_workers) or (is_decided and utmost.allow(default)):
            return utmost.annotate(default)
        if is_decided and not is_fixed:
            logger.warning("%s; blocks become smaller than eval_shape_increase makes them", utmost.annotate(default))
    smallest = default
    if not is_fixed:
        smallest = costs.of(plan_blocks(model, raw, output_roi, write_shape=least_shape(model, raw)))
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
    costs: BlockCosts, default: BlockPlan, least: BlockPlan, num_workers: int, context: ComputeContext
) -> BlockPlan | None:
    """Return a plan that is the same each time on the same machine, None if its memory does not suffice.

    It does not depend on what is free at the moment: a network rounds differently in blocks of other shapes, which can
    change a segmentation of its prediction.
    """
    costs = attrs.evolve(costs, process=process_bytes(is_this_one=False))
    limits = limits_of(None, costs.of(default), context, False, False, steady_memory)
    smallest = _for_most_workers(costs.of(least), num_workers, limits)
    return _largest(smallest, limits, costs).plan if limits.allow(smallest) else None


def _for_most_workers(smallest: Budget, num_workers: int, limits: MemoryLimits) -> Budget:
    """Return the smallest budget with as many of the workers as the limits allow."""
    for number in range(num_workers, 0, -1):
        budget = attrs.evolve(smallest, num_workers=number)
        if limits.allow(budget):
            return budget
    most = num_workers if limits.everything is None else limits.everything // smallest.each
    return attrs.evolve(smallest, num_workers=1 if limits.are_shared else max(1, min(num_workers, most)))


def _too_large(smallest: Budget, limits: MemoryLimits, utmost: MemoryLimits) -> Budget:
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


def _largest(smallest: Budget, limits: MemoryLimits, costs: BlockCosts) -> Budget:
    """Return the budget with the largest blocks for the workers of the smallest one, which is allowed."""
    least, num_workers = smallest.plan, smallest.num_workers
    most = _most_shape(costs.model, costs.raw, least)
    counts = [-(-extent // step) for extent, step in zip(least.output_roi.shape, most, strict=True)]
    split_for_workers(counts, least, num_workers)
    while True:
        shape = block_shape(least, counts)
        plan = plan_blocks(costs.model, costs.raw, least.output_roi, write_shape=shape)
        budget = limits.annotate(costs.of(plan, num_workers))
        if limits.allow(budget) or not split_longest(counts, shape, least):
            return budget


def _most_shape(model: Model, raw: Array, least: BlockPlan) -> Coordinate:
    halo = model.receptive_halo * raw.voxel_size
    usual = model.scale(raw.voxel_size) * _ENOUGH_VOXELS.get(raw.dims, 128)
    wanted = Coordinate(max(_ENOUGH_CONTEXTS * reach, extent) for reach, extent in zip(halo, usual, strict=True))
    return Coordinate(map(max, least.write_shape, round_up(wanted, least.step)))
