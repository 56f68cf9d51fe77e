"""The part of stats stores in databases that does not depend on the database: what a save changes."""

from __future__ import annotations

import json
from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.store.json_lines import ITERATION, Entry, encode
from dacapo.store.record_stats_store import (
    TRAINING,
    VALIDATION,
    Choice,
    RecordStatsStore,
    T,
    from_entries,
    to_entry,
)
from dacapo.store.stats_store import NewLosses
from dacapo.utils.names import check_name


class Record(Protocol):
    """The entries of one kind and run in a database, ordered by iteration."""

    place: str
    """Where the record is, for messages."""

    def iterations(self) -> Sequence[int]:
        """Return the iterations of all entries, ascending."""
        ...

    def end(self, last: bool) -> Entry | None:
        """Return the last or the first entry, or None if the record is empty."""
        ...

    def since(self, iteration: int | None) -> Iterator[Entry]:
        """Yield the entries from an iteration on, or all entries, ascending."""
        ...

    def of(self, iterations: Sequence[int]) -> Iterator[Entry]:
        """Yield the entries of some iterations, ascending."""
        ...

    def delete(self, since: int | None) -> None:
        """Delete the entries from an iteration on, or all entries."""
        ...

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries of later iterations, in their order."""
        ...


class TableStatsStore(RecordStatsStore):
    """A store that keeps one row per entry; a save adds the new ones, and readers see all that is written so far.

    A subclass opens records.
    """

    @abstractmethod
    def _open(self, kind: str, run_name: str, write: bool = False) -> AbstractContextManager[Record]:
        """Open a record; a database with transactions commits the changes when the ``with`` block ends."""
        raise NotImplementedError

    def _update(self, kind: str, run_name: str, items: Sequence[T]) -> None:
        with self._open(kind, run_name, write=True) as record:
            new = items[_prepare(record, items) :]
            if new:
                # By JSON, which converts NumPy numbers to plain ones.
                record.append([json.loads(encode(to_entry(item))) for item in new])

    def _read(self, kind: str, run_name: str, cls: type[T], choice: Choice) -> list[T]:
        with self._open(kind, run_name) as record:
            found = record.since(None) if choice.all else record.of(choice.of(record.iterations()))
            return from_entries(found, cls, record.place)

    def last_training_stats(self, run_name: str) -> TrainingIterationStats | None:
        with self._open(TRAINING, check_name(run_name, "run name")) as record:
            return _end(record, TrainingIterationStats, last=True)

    def losses_since(self, run_name: str, mark: Any = None) -> NewLosses:
        with self._open(TRAINING, check_name(run_name, "run name")) as record:
            anew = mark is None or next(iter(record.of([mark[ITERATION]])), None) != mark
            new = list(record.since(None if anew else mark[ITERATION] + 1))
            stats = from_entries(new, TrainingIterationStats, record.place)
        last = new[-1] if new else None if anew else mark
        return NewLosses([one.iteration for one in stats], [one.loss for one in stats], last, anew)

    def state(self, run_name: str) -> Hashable:
        ends = []
        for kind in (TRAINING, VALIDATION):
            with self._open(kind, check_name(run_name, "run name")) as record:
                ends.append(record.end(last=True))
        return encode({"ends": ends})

    def _delete(self, kind: str, run_name: str) -> None:
        with self._open(kind, run_name, write=True) as record:
            record.delete(None)


def _prepare(record: Record, items: Sequence[T]) -> int:
    """Delete the outdated entries, and return the index of the first item to write."""
    if not items:
        record.delete(None)
        return 0
    last = _end(record, type(items[0]), last=True)
    if last is None or last.iteration < items[0].iteration:
        return 0
    index = bisect_left(items, last.iteration, key=lambda item: item.iteration)
    if index < len(items) and _same(items[index], last):
        first = _end(record, type(items[0]), last=False)
        if first is not None and first.iteration <= items[0].iteration:
            return index + 1
    return _compare_all(record, items)


def _compare_all(record: Record, items: Sequence[T]) -> int:
    """Do the same as :func:`_prepare` by reading all entries, after a run went back or was trained anew."""
    stored = from_entries(record.since(items[0].iteration), type(items[0]), record.place)
    for kept, entry in enumerate(stored):
        if kept == len(items) or not _same(items[kept], entry):
            record.delete(entry.iteration)
            return kept
    return len(stored)


def _end(record: Record, cls: type[T], last: bool) -> T | None:
    entry = record.end(last)
    return None if entry is None else from_entries([entry], cls, record.place)[0]


def _same(item: Any, other: Any) -> bool:
    return encode(to_entry(item)) == encode(to_entry(other))
