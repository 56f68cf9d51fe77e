"""The memory of work in blocks that needs no network: how large a block may be, and how many workers fit."""

from __future__ import annotations

import attrs

from dacapo.compute_context.compute_context import ComputeContext
from dacapo.errors import MemoryBudgetError
from dacapo.utils.memory import format_size
from dacapo.utils.memory_estimates import (
    PROCESS_BYTES,
    WORKER_BYTES,
    default_memory,
    free_memory,
    planned_memory,
    process_bytes,
)


@attrs.frozen
class BlockMemory:
    """Limits of memory in bytes; None stands for no limit, or an unknown one.

    Attributes:
        together: Limit of all workers together, with their blocks.
        alone: Limit of a block that is the only one at a time.
        planned: Limit of a block whose size is chosen; the same each time on the same machine.
        job: Limit of each worker with its block, on another machine.
    """

    together: int | None = None
    alone: int | None = None
    planned: int | None = None
    job: int | None = None

    @classmethod
    def of(cls, max_memory: int | None, context: ComputeContext) -> BlockMemory:
        """Return the limits for workers of a compute context.

        Args:
            max_memory: Limit of all processes together, with the calling one. By default, workers on this machine share
                half of what is free, and jobs of a cluster have only the limit of each.
            context: Where the workers run.
        """
        is_local = context.local_cores is not None
        job = None if is_local else context.worker_memory
        if max_memory is not None:
            left = max_memory - PROCESS_BYTES
            return cls(left, left, left, job)
        usable = default_memory() if is_local else None
        if usable is None:
            return cls(job=job)
        return cls(max(0, usable - process_bytes()), free_memory(), planned_memory())

    @property
    def largest_block(self) -> int | None:
        """Memory of the largest block to choose."""
        limits = [self.planned, None if self.job is None else self.job - WORKER_BYTES]
        return min((max(0, limit) for limit in limits if limit is not None), default=None)

    def workers(self, most: int, block_bytes: int) -> int:
        """Return how many workers fit, at least 1.

        Args:
            most: Number of workers to start if they fit.
            block_bytes: Memory that a block takes.

        Raises:
            MemoryBudgetError: If a single block is too large.
        """
        needs = [(block_bytes, self.alone, PROCESS_BYTES), (block_bytes + WORKER_BYTES, self.job, 0)]
        for needed, limit, beside in needs:
            if limit is not None and needed > limit:
                raise MemoryBudgetError(
                    f"a block takes about {format_size(needed)} of memory, but only {format_size(max(0, limit))} may "
                    f"be used for it; use smaller blocks, or allow at least {format_size(needed + beside)}"
                )
        if self.together is None:
            return most
        return max(1, min(most, self.together // (WORKER_BYTES + block_bytes)))
