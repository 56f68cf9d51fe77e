"""The part of stats stores that does not depend on where they keep entries: conversion, and selection of entries."""

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
from dacapo.store.json_lines import Entry
from dacapo.store.stats_store import StatsStore
from dacapo.utils.names import check_name

if TYPE_CHECKING:
    from dacapo.experiments.validation_scores import ValidationScores

TRAINING = "training_stats"
VALIDATION = "validation_scores"

# Maximum number of entries in a subsampled record; more than a plot can show.
SUBSAMPLE = 1000

T = TypeVar("T", TrainingIterationStats, ValidationIterationScores)


class RecordStatsStore(StatsStore):
    """A store that keeps one list of entries per kind and run, ordered by iteration.

    A subclass implements updating, reading, deleting and listing such lists. Kinds are :data:`TRAINING` and
    :data:`VALIDATION`; names of runs have been checked.
    """

    @abstractmethod
    def _update(self, kind: str, run_name: str, items: Sequence[T]) -> None:
        """Replace the tail of the list by ``items``; entries of earlier iterations stay."""
        raise NotImplementedError

    @abstractmethod
    def _read(self, kind: str, run_name: str, cls: type[T], choice: Choice) -> list[T]:
        """Return the selected entries, ascending."""
        raise NotImplementedError

    @abstractmethod
    def _delete(self, kind: str, run_name: str) -> None:
        """Delete the list, if it exists."""
        raise NotImplementedError

    @abstractmethod
    def _run_names(self, kind: str) -> list[str]:
        """Return the names of the runs that have a list, in any order."""
        raise NotImplementedError

    def run_names(self) -> list[str]:
        """Return the names of all runs with statistics or scores, sorted."""
        return sorted({*self._run_names(TRAINING), *self._run_names(VALIDATION)})

    def entries(self, kind: str, run_name: str) -> list[Any]:
        """Return all entries of one kind."""
        cls: Any = TrainingIterationStats if kind == TRAINING else ValidationIterationScores
        return self._read(kind, _checked(run_name), cls, Choice())

    def store_entries(self, kind: str, run_name: str, items: Sequence[Any]) -> None:
        """Replace the tail of a list by ``items``, as the methods for each kind do."""
        self._update(kind, _checked(run_name), items)

    def store_training_stats(self, run_name: str, stats: TrainingStats) -> None:
        self._update(TRAINING, _checked(run_name), stats.iteration_stats)

    def retrieve_training_stats(self, run_name: str, subsample: bool = False) -> TrainingStats:
        return TrainingStats(self._read(TRAINING, _checked(run_name), TrainingIterationStats, Choice(subsample)))

    def store_validation_iteration_scores(self, run_name: str, scores: ValidationScores) -> None:
        self._update(VALIDATION, _checked(run_name), scores.scores)

    def retrieve_validation_iteration_scores(
        self, run_name: str, subsample: bool = False, validation_interval: int | None = None
    ) -> list[ValidationIterationScores]:
        choice = Choice(subsample, validation_interval)
        return self._read(VALIDATION, _checked(run_name), ValidationIterationScores, choice)

    def delete_training_stats(self, run_name: str) -> None:
        self._delete(TRAINING, _checked(run_name))

    def delete_validation_scores(self, run_name: str) -> None:
        self._delete(VALIDATION, _checked(run_name))


@attrs.frozen
class Choice:
    """The entries of a record to return.

    Attributes:
        subsample: At most :data:`SUBSAMPLE` entries, evenly spread, including the first and the last.
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
        """Whether all entries are returned."""
        return not self.subsample and self.interval is None

    def of(self, iterations: Iterable[int]) -> list[int]:
        """Return the selected iterations, given ascending ones.

        >>> Choice(interval=100).of([50, 100, 150, 200])
        [100, 200]
        """
        chosen = [i for i in iterations if self.interval is None or i % self.interval == 0]
        if not self.subsample or len(chosen) <= SUBSAMPLE:
            return chosen
        return [chosen[index * (len(chosen) - 1) // (SUBSAMPLE - 1)] for index in range(SUBSAMPLE)]


def to_entry(item: TrainingIterationStats | ValidationIterationScores) -> Entry:
    """Return an entry as plain values, keyed by field."""
    # Not attrs.asdict, which copies nested lists. Empty fields (usually the reasons) are omitted.
    return {
        name: value
        for name in (field.name for field in attrs.fields(type(item)))
        if (value := getattr(item, name)) is not None and value != {}
    }


def from_entries(plain: Iterable[Entry], cls: type[T], place: object) -> list[T]:
    """Return the entries described by plain values.

    Args:
        plain: Results of :func:`to_entry`, or entries of the original, which also carry the name of the run.
        cls: The class of the entries.
        place: Origin of the values, for the error message.

    Raises:
        DamagedFileError: If a field is missing.
    """
    names = [field.name for field in attrs.fields(cls)]
    try:
        return [cls(**{name: values[name] for name in names if name in values}) for values in plain]
    except (TypeError, KeyError) as error:
        raise DamagedFileError(f"{place} does not hold entries of a {cls.__name__}: {error}") from error


def from_columns(columns: Mapping[str, Sequence[Any]], cls: type[T], choice: Choice) -> list[T] | None:
    """Return the selected entries from one list per field, or None if the fields do not match the class."""
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
    """Pause garbage collection while many new objects are created, none of which is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # keep objects frozen by other code
            # Freezing and unfreezing marks the new objects as old, without a full collection.
            gc.freeze()
            gc.unfreeze()
        if enabled:
            gc.enable()


def _checked(run_name: str) -> str:
    return check_name(run_name, "run name")
