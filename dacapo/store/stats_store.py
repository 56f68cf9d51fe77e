"""The interface of stores that keep the record of a run: training statistics and validation scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from dacapo.experiments.training_stats import TrainingStats
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores

if TYPE_CHECKING:
    from dacapo.experiments.validation_scores import ValidationScores


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
