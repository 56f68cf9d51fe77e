"""How many worker processes a prediction gets."""

from __future__ import annotations

from dacapo.compute_context.compute_context import ComputeContext

# One worker leaves its GPU idle while it reads and writes.
WORKERS_PER_GPU = 4


class Unasked(int):
    """A number of workers that nobody asked for: the default of a parameter."""


DEFAULT_WORKERS = Unasked(12)


def prediction_workers(num_workers: int, context: ComputeContext) -> int:
    """Return how many worker processes are to predict, 0 to predict in this process.

    There are worker processes where more than one is asked for, where the context has ``distribute_workers`` set, and
    where nobody said how many, but this machine has several GPUs: up to four for each of them.

    Args:
        num_workers: How many there may be; an :class:`Unasked` number if that is a default.
        context: Where they would run.
    """
    number, num_gpus = int(num_workers), context.local_gpus
    if isinstance(num_workers, Unasked) and not context.distribute_workers:
        if num_gpus < 2:
            return 0
        # As many for each GPU, as far as that is possible.
        number = min(number, num_gpus * max(1, min(WORKERS_PER_GPU, number // num_gpus)))
    if number == 1 and not context.distribute_workers:
        return 0
    return min(number, context.local_cores or number)
