"""What stores of statistics and scores have in common: entries turned into records and back, and the choice of some."""

from __future__ import annotations

import gc
import itertools
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from dacapo.errors import ConfigError, DamagedFileError
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.store.json_lines import Record
from dacapo.store.stats_store import StatsStore
from dacapo.utils.names import check_name

if TYPE_CHECKING:
    from dacapo.experiments.validation_scores import ValidationScores

TRAINING = "training_stats"
VALIDATION = "validation_scores"

# The most entries that a subsampled record has; more than a plot can show.
SUBSAMPLE = 1000

T = TypeVar("T", TrainingIterationStats, ValidationIterationScores)


class RecordStatsStore(StatsStore):
    """A store that keeps, per kind of entry and per run, a list of records ordered by iteration.

    A subclass says how to update, read and delete such a list. Kinds are :data:`TRAINING` and :data:`VALIDATION`, and
    names of runs have been checked.
    """

    @abstractmethod
    def _update(self, kind: str, run_name: str, items: Sequence[T]) -> None:
        """Make the list hold ``items``, and before them what it held of earlier iterations."""
        raise NotImplementedError

    @abstractmethod
    def _read(self, kind: str, run_name: str, cls: type[T], choice: Choice) -> list[T]:
        """Return the chosen entries, ascending."""
        raise NotImplementedError

    @abstractmethod
    def _delete(self, kind: str, run_name: str) -> None:
        """Delete the list, if there is one."""
        raise NotImplementedError

    def store_training_stats(self, run_name: str, stats: TrainingStats) -> None:
        """Store the statistics of a run; only those that are new are written.

        Raises:
            StorageError: If the store cannot be read or written.
        """
        self._update(TRAINING, _checked(run_name), stats.iteration_stats)

    def retrieve_training_stats(self, run_name: str, subsample: bool = False) -> TrainingStats:
        """Return the statistics of a run, empty when nothing is stored.

        Args:
            run_name: Name of the run.
            subsample: Return at most a thousand entries, evenly spread, the first and the last among them.

        Raises:
            StorageError: If the store cannot be read.
            UnsafeFileError: If it is a pickle that would run code.
        """
        return TrainingStats(self._read(TRAINING, _checked(run_name), TrainingIterationStats, Choice(subsample)))

    def store_validation_iteration_scores(self, run_name: str, scores: ValidationScores) -> None:
        """Store the validation scores of a run; only those that are new are written.

        Raises:
            StorageError: If the store cannot be read or written.
        """
        self._update(VALIDATION, _checked(run_name), scores.scores)

    def retrieve_validation_iteration_scores(
        self, run_name: str, subsample: bool = False, validation_interval: int | None = None
    ) -> list[ValidationIterationScores]:
        """Return the scores of all validated iterations of a run, an empty list when nothing is stored.

        Args:
            run_name: Name of the run.
            subsample: Return at most a thousand entries, evenly spread, the first and the last among them.
            validation_interval: Return the iterations that are a multiple of it only.

        Raises:
            StorageError: If the store cannot be read.
            UnsafeFileError: If it is a pickle that would run code.
            ConfigError: If the interval is less than 1.
        """
        choice = Choice(subsample, validation_interval)
        return self._read(VALIDATION, _checked(run_name), ValidationIterationScores, choice)

    def delete_training_stats(self, run_name: str) -> None:
        """Delete the statistics of a run, if there are any."""
        self._delete(TRAINING, _checked(run_name))

    def delete_validation_scores(self, run_name: str) -> None:
        """Delete the validation scores of a run, if there are any."""
        self._delete(VALIDATION, _checked(run_name))


@attrs.frozen
class Choice:
    """Which entries of a record to return.

    Attributes:
        subsample: At most :data:`SUBSAMPLE`, evenly spread, the first and the last among them.
        interval: Only iterations that are a multiple of it.
    """

    subsample: bool = False
    interval: int | None = attrs.field(default=None)

    @interval.validator
    def _check_interval(self, _: attrs.Attribute[int | None], value: int | None) -> None:
        if value is not None and value < 1:
            raise ConfigError(f"validation_interval must be at least 1, got {value}; leave it out for all iterations")

    @property
    def all(self) -> bool:
        """Whether nothing is left out."""
        return not self.subsample and self.interval is None

    def of(self, iterations: Iterable[int]) -> list[int]:
        """Return the chosen ones of ascending iterations.

        >>> Choice(interval=100).of([50, 100, 150, 200])
        [100, 200]
        """
        chosen = [i for i in iterations if self.interval is None or i % self.interval == 0]
        if not self.subsample or len(chosen) <= SUBSAMPLE:
            return chosen
        return [chosen[index * (len(chosen) - 1) // (SUBSAMPLE - 1)] for index in range(SUBSAMPLE)]


def to_record(item: TrainingIterationStats | ValidationIterationScores) -> Record:
    """Return an entry as plain values by field."""
    # Not attrs.asdict, which copies the nested lists. What is empty (the reasons, mostly) is not written.
    return {
        name: value
        for name in (field.name for field in attrs.fields(type(item)))
        if (value := getattr(item, name)) is not None and value != {}
    }


def from_records(records: Iterable[Record], cls: type[T], place: object) -> list[T]:
    """Return the entries that records describe.

    Args:
        records: What :func:`to_record` returned, or entries of the original, which carry the run's name too.
        cls: The class of the entries.
        place: Where the records come from, for the error message.

    Raises:
        DamagedFileError: If a field is missing.
    """
    names = [field.name for field in attrs.fields(cls)]
    try:
        return [cls(**{name: record[name] for name in names if name in record}) for record in records]
    except (TypeError, KeyError) as error:
        raise DamagedFileError(f"{place} does not hold entries of a {cls.__name__}: {error}") from error


def from_columns(columns: Mapping[str, Sequence[Any]], cls: type[T], choice: Choice) -> list[T] | None:
    """Return the chosen entries of which lists hold the fields, None if they are not the fields of such entries."""
    names = [field.name for field in attrs.fields(cls)]
    if not set(names) <= set(columns):
        return None
    chosen = [columns[name] for name in names]
    if not choice.all:
        wanted = set(choice.of(columns["iteration"]))
        keep = [iteration in wanted for iteration in columns["iteration"]]
        chosen = [list(itertools.compress(column, keep)) for column in chosen]
    with _no_collection():
        return list(map(cls, *chosen))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from going through many new objects again and again, none of which is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # what somebody has frozen stays so
            # Counts the new objects as old, which the collector does by looking at each of them.
            gc.freeze()
            gc.unfreeze()
        if enabled:
            gc.enable()


def _checked(run_name: str) -> str:
    return check_name(run_name, "run name")
