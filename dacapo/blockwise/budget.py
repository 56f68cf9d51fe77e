"""How large the blocks of a prediction may be, and how many workers there is memory for.

Larger blocks read less context for what they write, so they are as large as memory allows, up to where that hardly
matters any more. What a block takes is known beforehand; see
:func:`~dacapo.experiments.architectures.network_memory.forward_bytes`.
"""

from __future__ import annotations

import logging
import math

import attrs
import numpy as np
import numpy.typing as npt
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.block_plan import BlockPlan, plan_blocks, round_up
from dacapo.compute_context import ComputeContext, create_compute_context
from dacapo.errors import ConfigError, MemoryBudgetError
from dacapo.experiments.architectures.network_memory import forward_bytes
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.model import Model
from dacapo.utils.memory import available_memory, format_size, parse_size, process_memory

logger = logging.getLogger(__name__)

# A process that has loaded PyTorch and reads and writes arrays, beside weights and blocks.
_PROCESS = 600 * 1024**2
# Unless a budget is given, this share of what is free is used, on a CPU no more than so much for each process's block.
_SHARE = 0.5
_USUAL_BLOCK = 2 * 1024**3
# Libraries take a little more than what is counted.
_MARGIN = 1.25
# Blocks gain little by writing more than this multiple of their context per axis, or more than so many voxels.
_ENOUGH = 8
_USUAL = {1: 2**20, 2: 1024, 3: 128}
# Blocks for each worker, where there are enough, so that they end at about the same time.
_BLOCKS_PER_WORKER = 4


@attrs.frozen
class Budget:
    """What a prediction is going to take.

    Attributes:
        plan: Where its blocks lie.
        num_workers: Processes that work at the same time.
        block_bytes: What a block takes, on the device of the network and beside it; None if that cannot be told.
        process_bytes: What each process takes beside that.
        limit: What all may take together; None if that is not known.
    """

    plan: BlockPlan
    num_workers: int
    block_bytes: int | None
    process_bytes: int
    limit: int | None

    @property
    def total(self) -> int:
        """What all processes take together, in bytes, as far as it can be told."""
        return self.num_workers * ((self.block_bytes or 0) + self.process_bytes)

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.plan.write_shape / self.plan.output_voxel_size))
        blocks = f"blocks of {shape} voxels in {self.num_workers} process(es)"
        if self.block_bytes is None:
            return f"{blocks}; what they take of memory cannot be told"
        allowed = "unknown what" if self.limit is None else format_size(self.limit)
        return (
            f"{blocks} take about {format_size(self.total)} of memory ({format_size(self.block_bytes)} for a block, "
            f"{format_size(self.process_bytes)} for a process), {allowed} may be used"
        )


def block_bytes(model: Model, raw: Array, plan: BlockPlan, dtype: npt.DTypeLike) -> int:
    """Return how many bytes a process takes for a block of a prediction, beside what it takes anyway.

    Args:
        model: The network.
        raw: The input.
        plan: Where the blocks lie.
        dtype: Type that predictions are stored as.
    """
    # The phase of a block relative to the network's grid can cost one more step than in the first block.
    read = plan.read_roi(Roi(plan.output_roi.begin, plan.write_shape)).shape
    if plan.computed_shape is None:
        read = round_up(read, plan.step) + plan.step
    shape = read / raw.voxel_size
    voxels: int = math.prod(shape)
    # As it is stored, and as float32 before and after the trainer prepares it.
    values = voxels * model.num_in_channels * (np.dtype(raw.dtype).itemsize + 4 + 4)
    written: int = math.prod(plan.write_shape / plan.output_voxel_size) * model.num_out_channels
    network = forward_bytes(model, (1, model.num_in_channels, *shape))
    return int(_MARGIN * network) + values + written * (4 + 4 + np.dtype(dtype).itemsize)


def plan_within(
    model: Model,
    raw: Array,
    output_roi: Roi | None = None,
    *,
    dtype: npt.DTypeLike = np.uint8,
    num_workers: int = 1,
    max_memory: str | int | None = None,
    context: ComputeContext | None = None,
) -> Budget:
    """Choose the largest blocks, and as many of the workers asked for as there is memory for.

    Without a budget, an architecture that has an ``eval_shape_increase`` decides about the blocks itself. The shape of
    its input decides where workers run on other machines whose memory is not known.

    Args:
        model: The network.
        raw: The input.
        output_roi: Region to predict in world units, the whole of ``raw`` by default.
        dtype: Type that predictions are stored as.
        num_workers: Processes that are to work at the same time; 1 stands for this one.
        max_memory: What all of them may take together, such as ``"8GB"``; by default what jobs are given on a cluster,
            and on this machine half of what is free, but no more than 2 GB for the block of each. Of a GPU's memory,
            half of what is free is used.
        context: Where they run, by default that of the options.

    Raises:
        MemoryBudgetError: If not even the smallest block fits; the message says what would do.
        ConfigError: If there is a budget and it cannot be told what the network takes.
        DacapoError: If the network does not fit the volume; see :func:`.plan_blocks`.
    """
    context = context or create_compute_context()
    weights = sum(parameter.nbytes for parameter in model.parameters())
    process = max(_PROCESS, process_memory() or 0 if num_workers == 1 else 0) + weights
    limit = _limit(max_memory, num_workers, process, context)
    try:
        plan = plan_blocks(model, raw, output_roi)
        default = Budget(plan, num_workers, block_bytes(model, raw, plan, dtype), process, limit)
    except (NotImplementedError, RuntimeError) as error:
        if max_memory is not None:
            raise ConfigError(
                f"what the network takes cannot be told without running it ({error}); leave out max_memory"
            ) from error
        return Budget(plan, num_workers, None, process, None)
    is_fixed = model.architecture.has_fixed_shape
    if max_memory is None and (limit is None or is_fixed or any(model.architecture.eval_shape_increase)):
        return default
    assert limit is not None
    if is_fixed:
        smallest = attrs.evolve(default, num_workers=1)
    else:
        least = plan_blocks(model, raw, output_roi, write_shape=_least_shape(model, raw))
        smallest = Budget(least, 1, block_bytes(model, raw, least, dtype), process, limit)
    if smallest.total > limit and max_memory is None:
        logger.warning("%s; that is the least that this network and volume take", smallest)
        limit = smallest.total
    if smallest.total > limit:
        raise MemoryBudgetError(
            f"{smallest}; that is the least that this network and volume take, so allow {format_size(smallest.total)}"
        )
    num_workers = min(num_workers, limit // smallest.total)
    if is_fixed:
        return attrs.evolve(smallest, num_workers=num_workers)
    return _largest(model, raw, attrs.evolve(smallest, limit=limit), num_workers, dtype)


def _largest(model: Model, raw: Array, smallest: Budget, num_workers: int, dtype: npt.DTypeLike) -> Budget:
    """Return the budget with the largest blocks for some workers, given that the smallest ones fit."""
    least, limit = smallest.plan, smallest.limit
    assert limit is not None
    most = _most_shape(model, raw, least)
    counts = [-(-extent // step) for extent, step in zip(least.output_roi.shape, most, strict=True)]
    _split_for_workers(counts, least, num_workers)
    while True:
        shape = _block_shape(least, counts)
        plan = plan_blocks(model, raw, least.output_roi, write_shape=shape)
        taken = block_bytes(model, raw, plan, dtype)
        if taken <= limit // num_workers - smallest.process_bytes or not _split_longest(counts, shape, least):
            return Budget(plan, num_workers, taken, smallest.process_bytes, limit)


def _limit(max_memory: str | int | None, num_workers: int, process: int, context: ComputeContext) -> int | None:
    """Return how many bytes all processes may take together, None where nobody knows."""
    if max_memory is not None:
        limit = parse_size(max_memory)
    elif context.local_cores is None and num_workers > 1:
        return None if context.worker_memory is None else num_workers * context.worker_memory
    else:
        free = available_memory()
        if free is None:
            return None
        limit = min(int(_SHARE * free) + (process_memory() or 0), num_workers * (process + _USUAL_BLOCK))
    if context.device.type == "cuda":
        limit = min(limit, int(_SHARE * torch.cuda.mem_get_info(context.device)[0]) + num_workers * process)
    return limit


def _least_shape(model: Model, raw: Array) -> Coordinate:
    """Return the smallest block that is worth it: as large as what a sample of the training predicts."""
    stride = model.architecture.stride * raw.voxel_size
    output = model.output_shape * model.scale(raw.voxel_size)
    return Coordinate(max(step, extent // step * step) for step, extent in zip(stride, output, strict=True))


def _most_shape(model: Model, raw: Array, least: BlockPlan) -> Coordinate:
    halo = model.architecture.receptive_halo * raw.voxel_size
    usual = model.scale(raw.voxel_size) * _USUAL.get(raw.dims, 128)
    wanted = Coordinate(max(_ENOUGH * reach, extent) for reach, extent in zip(halo, usual, strict=True))
    return Coordinate(map(max, least.write_shape, round_up(wanted, least.step)))


def _block_shape(least: BlockPlan, counts: list[int]) -> Coordinate:
    """Return the shape of the blocks that divide the region evenly, but none below the least."""
    even = Coordinate(-(-extent // count) for extent, count in zip(least.output_roi.shape, counts, strict=True))
    shape = round_up(even, least.step)
    return Coordinate(
        min(max(want, small), extent)
        for want, small, extent in zip(shape, least.write_shape, least.output_roi.shape, strict=True)
    )


def _split_longest(counts: list[int], shape: Coordinate, least: BlockPlan) -> bool:
    """Cut blocks once more along their longest axis, in voxels, that can still be cut; return whether there was one."""
    voxels = shape / least.output_voxel_size
    able = [axis for axis in range(len(counts)) if shape[axis] > least.write_shape[axis]]
    if not able:
        return False
    counts[max(able, key=lambda axis: voxels[axis])] += 1
    return True


def _split_for_workers(counts: list[int], least: BlockPlan, num_workers: int) -> None:
    """Cut blocks until every worker has some."""
    while num_workers > 1 and math.prod(counts) < _BLOCKS_PER_WORKER * num_workers:
        if not _split_longest(counts, _block_shape(least, counts), least):
            return
