"""What a log line says about a training beside its progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dacapo.utils.memory import format_size, process_memory

if TYPE_CHECKING:
    from dacapo.experiments.run import Run


class TrainingStatus:
    """Collects the losses since the last line."""

    def __init__(self, run: Run) -> None:
        """Begin without losses."""
        self._run = run
        self._sum, self._count = 0.0, 0

    def add(self, loss: float) -> None:
        """Add the loss of an iteration."""
        self._sum += loss
        self._count += 1

    def text(self) -> str:
        """Return the mean loss since the last call, the learning rate and the memory in use."""
        loss = f"loss {self._sum / self._count:.4g}" if self._count else "no loss yet"
        self._sum, self._count = 0.0, 0
        rate = self._run.optimizer.param_groups[0]["lr"]
        return ", ".join([loss, f"learning rate {rate:.3g}", *_memory()])


def _memory() -> list[str]:
    used = process_memory()
    parts = [] if used is None else [f"{format_size(used)} of memory"]
    if torch.cuda.is_available():
        parts.append(f"{format_size(torch.cuda.max_memory_allocated())} of GPU memory")
    return parts
