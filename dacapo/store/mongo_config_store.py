"""Configs as documents in MongoDB, one collection per kind."""

from __future__ import annotations

from collections.abc import Collection as Names
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dacapo.store.mongo import Document, connect, escape, mongo_errors, place_of, unescape
from dacapo.store.plain_config_store import COLLECTIONS, PlainConfigStore

if TYPE_CHECKING:
    from pymongo.collection import Collection

_WITHOUT_ID = {"_id": False}
_NAME_ONLY = {"_id": False, "name": True}


class MongoConfigStore(PlainConfigStore):
    """Keeps each config as a document with its fields, in one collection per kind with unique names.

    Dots and dollars in the keys of a config are written as ``%2E`` and ``%24``.

    Args:
        db_host: Host, ``host:port`` or ``mongodb://`` address of the server. The first connection is made on the first
            read or write; no answer within three seconds (or the address's ``serverSelectionTimeoutMS``) raises a
            :class:`~dacapo.errors.StorageError`.
        db_name: Name of the database.

    Raises:
        MissingDependencyError: If pymongo is not installed.
        ConfigError: If the address or the name is invalid.
    """

    def __init__(self, db_host: str, db_name: str) -> None:
        self.db_host = db_host
        self.db_name = db_name
        self.database = connect(db_host, db_name)
        for name in COLLECTIONS:
            setattr(self, name, self.database[name])
        self._indexed: set[str] = set()

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

    def _remove(self, database: Collection[Document], name: str) -> bool:
        with mongo_errors(self._place(database, name)):
            return database.delete_one({"name": name}).deleted_count > 0

    def _place(self, database: Collection[Document], name: str = "") -> str:
        place = place_of(database, self.db_host)
        return f"{place}, {name!r}" if name else place
