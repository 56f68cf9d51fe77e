"""Training statistics and validation scores as documents in MongoDB, one per run and iteration."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dacapo.store.json_lines import ITERATION, encode
from dacapo.store.mongo import Document, MongoStore, escape, mongo_errors, unescape
from dacapo.store.record_stats_store import (
    TRAINING,
    VALIDATION,
    Choice,
    RecordStatsStore,
    T,
    from_entries,
    to_entry,
)

if TYPE_CHECKING:
    from pymongo.collection import Collection

_RUN = "run_name"
_ENTRY = {"_id": False, _RUN: False}


class MongoStatsStore(MongoStore, RecordStatsStore):
    """Keeps each entry as a document; a save adds the new ones, and readers see all that is written so far."""

    def __init__(self, db_host: str, db_name: str) -> None:
        super().__init__(db_host, db_name)
        self.training_stats = self.database[TRAINING]
        self.validation_scores = self.database[VALIDATION]

    def _update(self, kind: str, run_name: str, items: Sequence[T]) -> None:
        collection = self.database[kind]
        with mongo_errors(self._place(kind, run_name)):
            if kind not in self._indexed:
                collection.create_index([(_RUN, 1), (ITERATION, 1)], unique=True)
                self._indexed.add(kind)
            first_new = self._prepare(collection, run_name, items)
            documents = [_to_document(run_name, item) for item in items[first_new:]]
            if documents:
                # Write in order, so that a killed process leaves a prefix that the next save extends.
                collection.insert_many(documents, ordered=True)

    def _prepare(self, collection: Collection[Document], run_name: str, items: Sequence[T]) -> int:
        """Delete the outdated entries, and return the index of the first item to write."""
        if not items:
            collection.delete_many({_RUN: run_name})
            return 0
        last = self._end(collection, run_name, type(items[0]), -1)
        if last is None or last.iteration < items[0].iteration:
            return 0
        index = bisect_left(items, last.iteration, key=lambda item: item.iteration)
        if index < len(items) and _same(items[index], last):
            first = self._end(collection, run_name, type(items[0]), 1)
            if first is not None and first.iteration <= items[0].iteration:
                return index + 1
        return self._compare_all(collection, run_name, items)

    def _compare_all(self, collection: Collection[Document], run_name: str, items: Sequence[T]) -> int:
        """Do the same as :meth:`_prepare` by reading all entries, after a run went back or was trained anew."""
        query = {_RUN: run_name, ITERATION: {"$gte": items[0].iteration}}
        kept = 0
        with collection.find(query, _ENTRY).sort(ITERATION, 1) as found:
            for entry in from_entries(map(unescape, found), type(items[0]), self._place(collection.name, run_name)):
                if kept == len(items) or not _same(items[kept], entry):
                    collection.delete_many({_RUN: run_name, ITERATION: {"$gte": entry.iteration}})
                    break
                kept += 1
        return kept

    def _end(self, collection: Collection[Document], run_name: str, cls: type[T], order: int) -> T | None:
        """Return the first entry of a run (``order`` 1) or the last one (-1)."""
        document = collection.find_one({_RUN: run_name}, _ENTRY, sort=[(ITERATION, order)])
        if document is None:
            return None
        return from_entries([unescape(document)], cls, self._place(collection.name, run_name))[0]

    def _read(self, kind: str, run_name: str, cls: type[T], choice: Choice) -> list[T]:
        collection = self.database[kind]
        query: Document = {_RUN: run_name}
        with mongo_errors(self._place(kind, run_name)):
            if not choice.all:
                # This query is answered from the index alone.
                found = collection.find(query, {"_id": False, ITERATION: True}).sort(ITERATION, 1)
                query[ITERATION] = {"$in": choice.of(document[ITERATION] for document in found)}
            documents = list(collection.find(query, _ENTRY).sort(ITERATION, 1))
        return from_entries(map(unescape, documents), cls, self._place(kind, run_name))

    def _delete(self, kind: str, run_name: str) -> None:
        with mongo_errors(self._place(kind, run_name)):
            self.database[kind].delete_many({_RUN: run_name})

    def _place(self, kind: str, run_name: str) -> str:
        return self._place_of(self.database[kind], f"run {run_name!r}")


def _to_document(run_name: str, item: Any) -> Document:
    # Via JSON, which converts NumPy numbers to plain ones.
    return {_RUN: run_name, **escape(json.loads(encode(to_entry(item))))}


def _same(item: Any, other: Any) -> bool:
    return encode(to_entry(item)) == encode(to_entry(other))
