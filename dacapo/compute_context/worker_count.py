"""How many worker processes a prediction gets."""

from __future__ import annotations

from dacapo.compute_context.compute_context import ComputeContext

# One worker leaves its GPU idle while it reads and writes.
WORKERS_PER_GPU = 4


DEFAULT_WORKERS = 30
"""Number of workers at most where nobody says how many."""


def prediction_workers(num_workers: int | None, context: ComputeContext) -> int:
    """Return how many worker processes are to predict, 0 to predict in this process.

    Worker processes are started if more than one is asked for, if the context has ``distribute_workers`` set, and if
    nobody said how many, but this machine has several GPUs: up to four for each of them.

    Args:
        num_workers: How many there may be; None if nobody said, which stands for :data:`DEFAULT_WORKERS` at most.
        context: Where they would run.
    """
    number, num_gpus = DEFAULT_WORKERS if num_workers is None else num_workers, context.local_gpus
    if num_workers is None and not context.distribute_workers:
        if num_gpus < 2:
            return 0
        # As many for each GPU, as far as that is possible.
        number = min(number, num_gpus * max(1, min(WORKERS_PER_GPU, number // num_gpus)))
    if number == 1 and not context.distribute_workers:
        return 0
    return min(number, context.local_cores or number)
