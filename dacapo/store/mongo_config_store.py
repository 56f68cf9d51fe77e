"""Configs as documents in MongoDB, one collection per kind."""

from __future__ import annotations

from collections.abc import Collection as Names
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dacapo.store.mongo import Document, MongoStore, escape, mongo_errors, unescape
from dacapo.store.plain_config_store import COLLECTIONS, PlainConfigStore

if TYPE_CHECKING:
    from pymongo.collection import Collection

_WITHOUT_ID = {"_id": False}
_NAME_ONLY = {"_id": False, "name": True}


class MongoConfigStore(MongoStore, PlainConfigStore):
    """Keeps each config as a document with its fields, in one collection per kind with unique names.

    Dots and dollars in the keys of a config are written as ``%2E`` and ``%24``.
    """

    def __init__(self, db_host: str, db_name: str) -> None:
        super().__init__(db_host, db_name)
        for name in COLLECTIONS:
            setattr(self, name, self.database[name])

    def _names(self, database: Collection[Document]) -> list[str]:
        return self._found(database, {})

    def _names_of_runs(self, wanted: Mapping[str, Names[str]]) -> list[str]:
        return self._found(self.runs, {f"{part}.name": {"$in": list(names)} for part, names in wanted.items()})

    def _found(self, database: Collection[Document], query: Document) -> list[str]:
        with mongo_errors(self._place(database)):
            return [document["name"] for document in database.find(query, _NAME_ONLY)]

    def _read(self, database: Collection[Document], name: str) -> Any:
        with mongo_errors(self._place(database, name)):
            document = database.find_one({"name": name}, _WITHOUT_ID)
        if document is None:
            raise KeyError(name)
        return unescape(document)

    def _write(self, database: Collection[Document], name: str, plain: dict[str, Any]) -> bool:
        from pymongo.errors import DuplicateKeyError

        with mongo_errors(self._place(database, name)):
            if database.name not in self._indexed:
                # If two processes store the same name at once, the index lets only one of them through.
                database.create_index("name", unique=True)
                self._indexed.add(database.name)
            try:
                database.insert_one(escape(plain))
            except DuplicateKeyError:
                return False
        return True

    def _replace(self, database: Collection[Document], name: str, plain: dict[str, Any]) -> None:
        with mongo_errors(self._place(database, name)):
            database.replace_one({"name": name}, escape(plain))

    def _remove(self, database: Collection[Document], name: str) -> bool:
        with mongo_errors(self._place(database, name)):
            return database.delete_one({"name": name}).deleted_count > 0

    def _place(self, database: Collection[Document], name: str = "") -> str:
        return self._place_of(database, repr(name) if name else "")
