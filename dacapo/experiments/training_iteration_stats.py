"""Statistics of one training iteration."""

from __future__ import annotations

import attrs


@attrs.define
class TrainingIterationStats:
    """Hold the outcome of one training iteration.

    Attributes:
        iteration: The iteration, counted from 0.
        loss: The loss of its batch.
        time: Duration in seconds; None if not measured.
    """

    iteration: int = attrs.field()
    loss: float = attrs.field()
    time: float | None = attrs.field(default=None)

    def __repr__(self) -> str:
        time = "" if self.time is None else f", time={self.time!r}"
        return f"{type(self).__name__}(iteration={self.iteration!r}, loss={self.loss!r}{time})"
