"""Training statistics and validation scores as documents in MongoDB, one per run and iteration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dacapo.store.json_lines import ITERATION, Entry
from dacapo.store.mongo import Document, MongoStore, escape, mongo_errors, unescape
from dacapo.store.record_stats_store import TRAINING, VALIDATION
from dacapo.store.table_stats_store import Record, TableStatsStore

if TYPE_CHECKING:
    from pymongo.collection import Collection

_RUN = "run_name"
_ENTRY = {"_id": False, _RUN: False}


class MongoStatsStore(MongoStore, TableStatsStore):
    """Keeps each entry as a document."""

    def __init__(self, db_host: str, db_name: str) -> None:
        super().__init__(db_host, db_name)
        self.training_stats = self.database[TRAINING]
        self.validation_scores = self.database[VALIDATION]

    @contextmanager
    def _open(self, kind: str, run_name: str, write: bool = False) -> Iterator[Record]:
        collection = self.database[kind]
        place = self._place_of(collection, f"run {run_name!r}")
        with mongo_errors(place):
            if write and kind not in self._indexed:
                collection.create_index([(_RUN, 1), (ITERATION, 1)], unique=True)
                self._indexed.add(kind)
            yield _MongoRecord(collection, run_name, place)

    def _run_names(self, kind: str) -> list[str]:
        with mongo_errors(self._place_of(self.database[kind])):
            return [str(name) for name in self.database[kind].distinct(_RUN)]


class _MongoRecord:
    """The documents of one run in a collection."""

    def __init__(self, collection: Collection[Document], run_name: str, place: str) -> None:
        self._collection = collection
        self._run = {_RUN: run_name}
        self.place = place

    def iterations(self) -> list[int]:
        # This query is answered from the index alone.
        found = self._collection.find(self._run, {"_id": False, ITERATION: True}).sort(ITERATION, 1)
        return [document[ITERATION] for document in found]

    def end(self, last: bool) -> Entry | None:
        document = self._collection.find_one(self._run, _ENTRY, sort=[(ITERATION, -1 if last else 1)])
        return None if document is None else unescape(document)

    def since(self, iteration: int | None) -> Iterator[Entry]:
        return self._found(_since(iteration))

    def of(self, iterations: Sequence[int]) -> Iterator[Entry]:
        return self._found({ITERATION: {"$in": list(iterations)}})

    def delete(self, since: int | None) -> None:
        self._collection.delete_many({**self._run, **_since(since)})

    def append(self, entries: Sequence[Entry]) -> None:
        # Write in order, so that a killed process leaves a prefix that the next save extends.
        self._collection.insert_many([{**self._run, **escape(entry)} for entry in entries], ordered=True)

    def _found(self, query: Document) -> Iterator[Entry]:
        with self._collection.find({**self._run, **query}, _ENTRY).sort(ITERATION, 1) as found:
            yield from map(unescape, found)


def _since(iteration: int | None) -> dict[str, Any]:
    return {} if iteration is None else {ITERATION: {"$gte": iteration}}
