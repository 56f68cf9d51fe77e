"""All loggers of a training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dacapo.errors import ConfigError, LoggerError
from dacapo.experiments.config import load_plugins
from dacapo.experiments.loggers.logger import Logger, known_loggers
from dacapo.experiments.loggers.progress_logger import ProgressLogger
from dacapo.options import Options
from dacapo.utils import distributed

if TYPE_CHECKING:
    from dacapo.experiments.run import Run
    from dacapo.experiments.training_iteration_stats import TrainingIterationStats
    from dacapo.experiments.validation_iteration_scores import ValidationIterationScores

logger = logging.getLogger(__name__)


def make_loggers(wanted: Sequence[str | Logger] | str | Logger | None = None) -> Loggers:
    """Return the loggers for a training, which follow it on rank 0 only.

    Args:
        wanted: Loggers, or names of known ones; None for those of the option ``loggers``. Progress is always shown.

    Raises:
        ConfigError: If a name is unknown.
        MissingDependencyError: If a package that one needs is not installed.
    """
    if wanted is None:
        wanted = Options.instance().loggers
    given = [wanted] if isinstance(wanted, str | Logger) else list(wanted)
    others = [_logger(one) for one in given]
    return Loggers([ProgressLogger(), *others] if distributed.is_main() else [])


def _logger(wanted: str | Logger) -> Logger:
    if isinstance(wanted, Logger):
        return wanted
    if wanted not in known_loggers:
        load_plugins()
    if wanted not in known_loggers:
        names = ", ".join(sorted(set(known_loggers) - {ProgressLogger.name}))
        raise ConfigError(f"unknown logger {wanted!r}; known are {names}; an own one is a subclass of Logger")
    return known_loggers[wanted]()


class Loggers:
    """Passes on what happens in a training to several loggers.

    A failure of one does not interrupt the training at once, but :attr:`failure` asks it to save everything and stop.

    Attributes:
        failure: The first failure, None if all work.
    """

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self._loggers = list(loggers)
        self.failure: LoggerError | None = None

    @contextmanager
    def following(self, run: Run) -> Iterator[None]:
        """Follow a training inside a ``with`` block.

        Raises:
            LoggerError: If a logger cannot start or finish.
        """
        started: list[Logger] = []

        def start(one: Logger) -> None:
            one.start(run)
            started.append(one)

        try:
            self._each(start)
            self.raise_failure()
            yield
        except BaseException:
            self._finish(started, run, failed=True)
            raise
        self._finish(started, run, failed=False)
        self.raise_failure()

    def log_iteration(self, run: Run, stats: TrainingIterationStats) -> None:
        """Pass on an iteration."""
        self._each(lambda one: one.log_iteration(run, stats))

    def log_validation(self, run: Run, scores: ValidationIterationScores, seconds: float) -> None:
        """Pass on a validation."""
        self._each(lambda one: one.log_validation(run, scores, seconds))

    def raise_failure(self) -> None:
        """Raise the first failure, if any; call it when everything is saved."""
        if self.failure is not None:
            raise self.failure

    def _finish(self, started: list[Logger], run: Run, failed: bool) -> None:
        self._loggers = started
        self._each(lambda one: one.finish(run, failed))

    def _each(self, call: Callable[[Logger], None]) -> None:
        for one in self._loggers:
            try:
                call(one)
            except Exception as error:  # noqa: BLE001  (raised once the training is saved)
                self._note(one, error)

    def _note(self, one: Logger, error: Exception) -> None:
        what = f"the logger {one.name!r} failed: {type(error).__name__}: {error}"
        if self.failure is not None:
            logger.error("%s", what)
            return
        self.failure = LoggerError(
            f"{what}. The training is saved; train again to resume, without this logger if needed"
        )
        self.failure.__cause__ = error
