"""The learning rate over the iterations."""

from __future__ import annotations

import math

LOWEST_FACTOR = 0.01
"""Factor at the first iteration of the warm-up and at the end of the decay."""


def learning_rate_factor(iteration: int, warmup_iterations: int, decay_iterations: int | None = None) -> float:
    """Return the factor of the learning rate in an iteration.

    The factor grows linearly to 1 during the warm-up, as with ``torch.optim.lr_scheduler.LinearLR``, and then stays or
    falls along half a cosine. It depends on the iteration alone, so resuming needs no state.

    Args:
        iteration: Counted from 0.
        warmup_iterations: The first iteration with the full rate.
        decay_iterations: The first iteration with the lowest rate, which is kept; None for no decay.
    """
    if iteration < warmup_iterations:
        return LOWEST_FACTOR + (1 - LOWEST_FACTOR) * iteration / warmup_iterations
    if decay_iterations is None:
        return 1.0
    done = min(1.0, (iteration - warmup_iterations) / (decay_iterations - warmup_iterations))
    return LOWEST_FACTOR + (1 - LOWEST_FACTOR) * (1 + math.cos(math.pi * done)) / 2
