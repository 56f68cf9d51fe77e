"""The interface of stores that keep the record of a run: training statistics and validation scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores

if TYPE_CHECKING:
    from dacapo.experiments.validation_scores import ValidationScores


@attrs.frozen
class NewLosses:
    """The losses that were stored since an earlier look.

    Attributes:
        iterations: Their iterations, ascending.
        losses: The loss of each.
        mark: The place up to which the record is read, for the next look.
        anew: Whether these are all losses, because the ones read before were replaced, or none were read.
    """

    iterations: Sequence[int]
    losses: Sequence[float]
    mark: Any
    anew: bool


class StatsStore(ABC):
    """Keeps training statistics and validation scores by the name of the run.

    After a ``store_*`` call the store holds the given entries, preceded by the stored entries of earlier iterations.
    Entries after the last given one are removed: the run went back to an earlier iteration. Only new entries are
    written. All methods raise a :class:`~dacapo.errors.StorageError` if the store cannot be read or written. Reading a
    file that would run code raises an :class:`~dacapo.errors.UnsafeFileError`.
    """

    @abstractmethod
    def store_training_stats(self, run_name: str, training_stats: TrainingStats) -> None:
        """Store the statistics of a run."""
        raise NotImplementedError

    @abstractmethod
    def retrieve_training_stats(self, run_name: str, subsample: bool = False) -> TrainingStats:
        """Return the statistics of a run, empty if none are stored.

        Args:
            run_name: Name of the run.
            subsample: Return at most a thousand entries, evenly spread, including the first and the last.
        """
        raise NotImplementedError

    @abstractmethod
    def store_validation_iteration_scores(self, run_name: str, validation_scores: ValidationScores) -> None:
        """Store the validation scores of a run."""
        raise NotImplementedError

    @abstractmethod
    def retrieve_validation_iteration_scores(
        self, run_name: str, subsample: bool = False, validation_interval: int | None = None
    ) -> list[ValidationIterationScores]:
        """Return the scores of all validated iterations of a run, an empty list if none are stored.

        Args:
            run_name: Name of the run.
            subsample: Return at most a thousand entries, evenly spread, including the first and the last.
            validation_interval: Return only iterations that are a multiple of it.

        Raises:
            ConfigError: If the interval is less than 1.
        """
        raise NotImplementedError

    @abstractmethod
    def delete_training_stats(self, run_name: str) -> None:
        """Delete the statistics of a run, if any."""
        raise NotImplementedError

    @abstractmethod
    def delete_validation_scores(self, run_name: str) -> None:
        """Delete the validation scores of a run, if any."""
        raise NotImplementedError

    def last_training_stats(self, run_name: str) -> TrainingIterationStats | None:
        """Return the statistics of the last iteration of a run, None if none are stored."""
        stats = self.retrieve_training_stats(run_name).iteration_stats
        return stats[-1] if stats else None

    def losses_since(self, run_name: str, mark: Any = None) -> NewLosses:
        """Return the losses of a run that are new since an earlier call, to follow a training at little cost.

        Args:
            run_name: Name of the run.
            mark: The mark that the earlier call returned; None for all losses.
        """
        stats = self.retrieve_training_stats(run_name).iteration_stats
        return NewLosses([one.iteration for one in stats], [one.loss for one in stats], None, True)

    def state(self, run_name: str) -> Hashable:
        """Return a value that changes whenever training or validation of a run stores something."""
        scores = self.retrieve_validation_iteration_scores(run_name)
        return repr((self.last_training_stats(run_name), scores[-1:], len(scores)))

    def changed(self, run_name: str) -> float | None:
        """Return when a run last stored something, in seconds since 1970; None if the store does not know."""
        return None
