"""What one training iteration reports."""

from __future__ import annotations

import attrs


@attrs.define
class TrainingIterationStats:
    """Hold the outcome of one training iteration.

    Attributes:
        iteration: The iteration, counted from 0.
        loss: The loss of its batch.
        time: How long it took, in seconds.
    """

    iteration: int = attrs.field()
    loss: float = attrs.field()
    time: float = attrs.field()
