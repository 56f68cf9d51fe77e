"""The progress of a training: a bar, or lines in the log, and a row for each validation."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar

import torch

from dacapo.experiments.loggers import validation_row
from dacapo.experiments.loggers.logger import Logger
from dacapo.utils.memory import format_size, process_memory
from dacapo.utils.progress import progress

if TYPE_CHECKING:
    from tqdm import tqdm

    from dacapo.experiments.run import Run
    from dacapo.experiments.training_iteration_stats import TrainingIterationStats
    from dacapo.experiments.validation_iteration_scores import ValidationIterationScores

logger = logging.getLogger(__name__)


class ProgressLogger(Logger):
    """Shows how far a training is; every training has one."""

    name: ClassVar[str] = "progress"

    _run: Run
    _bar: tqdm[None]

    def __init__(self) -> None:
        """Begin without losses."""
        self._sum, self._count = 0.0, 0
        self._has_header = False

    def start(self, run: Run) -> None:
        """Draw the bar."""
        self._run = run
        self._bar = progress(total=run.train_until, desc=run.name, unit="iteration", status=self._status)
        self._bar.n = self._bar.initial = run.training_stats.trained_until()

    def log_iteration(self, run: Run, stats: TrainingIterationStats) -> None:
        """Advance the bar, which logs a line when one is due."""
        self._sum += stats.loss
        self._count += 1
        self._bar.set_postfix_str(f"loss {stats.loss:.4f}", refresh=False)
        self._bar.update()

    def log_validation(self, run: Run, scores: ValidationIterationScores, seconds: float) -> None:
        """Log a row of a table."""
        if not self._has_header:
            self._has_header = True
            logger.info("%s", validation_row.header(run))
        logger.info("%s", validation_row.row(run, scores, seconds))

    def finish(self, run: Run, failed: bool) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def _status(self) -> str:
        """Return the mean loss since the last line, the learning rate and the memory in use."""
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
