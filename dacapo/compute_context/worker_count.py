"""The number of worker processes of an operation: the one rule behind ``num_workers``.

A number is a maximum, and so is the ``num_workers`` of the compute context, or of its step. Fewer workers start if this
machine has fewer cores, if fewer blocks are left or worth the start of a process, or if more do not fit into memory. A
single worker is the calling process itself, unless the compute context distributes workers.

None is the default of :func:`~dacapo.predict.predict`, :func:`~dacapo.apply.apply`, :func:`~dacapo.validate.validate`
and post-processors. If the compute context has no number either, this rule decides:

- A network predicts in the calling process. If the compute context distributes workers, up to :data:`DEFAULT_WORKERS`
  of them predict. If this machine has several GPUs, up to :data:`WORKERS_PER_GPU` predict on each, except in a
  validation, whose weights may be in the memory of the calling process only.
- All other work gets up to :data:`DEFAULT_WORKERS` workers, if they fit into half of the free memory. Processes that
  train together divide it without workers.

Training validates with one worker, because Ctrl-C is to finish the validation, and would end other processes. Calls
that run the worker modules of users, such as :func:`~dacapo.blockwise.run_blockwise`, have a number as their default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dacapo.compute_context.compute_context import ComputeContext

WORKERS_PER_GPU = 4
"""One worker alone leaves its GPU idle while it reads and writes."""
DEFAULT_WORKERS = 30
"""Maximum number of workers if no number is given."""


def prediction_workers(num_workers: int | None, context: ComputeContext, is_stored: bool = True) -> int:
    """Return the number of worker processes of a prediction, 0 to predict in this process.

    Args:
        num_workers: Maximum number; None if no number is given.
        context: Where workers would run.
        is_stored: Whether the weights are known to be those of a stored checkpoint.
    """
    num_workers = context.limited(num_workers)
    number, num_gpus = DEFAULT_WORKERS if num_workers is None else num_workers, context.local_gpus
    if num_workers is None and not context.distribute_workers:
        if num_gpus < 2 or not is_stored:
            return 0
        # The same number for each GPU, if possible.
        number = min(number, num_gpus * max(1, min(WORKERS_PER_GPU, number // num_gpus)))
    if number == 1 and not context.distribute_workers:
        return 0
    return min(number, context.local_cores or number)


def works_here(num_workers: int, upstream_tasks: Sequence[Any] | None, context: ComputeContext) -> bool:
    """Return whether a single worker processes the blocks of a task in the scheduling process."""
    return num_workers == 1 and not upstream_tasks and not context.distribute_workers
