"""Limits of the memory that a prediction may take, where its processes run."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from dacapo.compute_context import ComputeContext, free_gpu_memory
from dacapo.inference.block_costs import Budget
from dacapo.utils.memory import parse_size
from dacapo.utils.memory_estimates import DEFAULT_BLOCK_BYTES, DEFAULT_SHARE


@attrs.frozen
class MemoryLimits:
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


def limits_of(
    max_memory: str | int | None,
    default: Budget,
    context: ComputeContext,
    is_remote: bool,
    on_gpu: bool,
    measure: Callable[[], int | None],
    share: float = DEFAULT_SHARE,
) -> MemoryLimits:
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

    return MemoryLimits(everything, host, gpu if on_gpu else None, not is_remote)
