"""Connect to a MongoDB server (the extra ``mongo``), and encode plain values for its documents."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dacapo.errors import ConfigError, StorageError
from dacapo.ext import optional_module
from dacapo.utils.addresses import without_secrets

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.collection import Collection
    from pymongo.database import Database

Document = dict[str, Any]

# Server selection timeout. The driver's default of thirty seconds is long for a mistyped name.
_SELECTION_TIMEOUT_MS = 3000

# The driver's messages can repeat the whole document.
_SHOWN = 300

# MongoDB gives dots and dollars in field names a meaning, and a null byte ends a name.
_ESCAPED = {"%": "%25", ".": "%2E", "$": "%24", "\0": "%00"}
_UNESCAPED = {code: character for character, code in _ESCAPED.items()}


class MongoStore:
    """A store in a database of a MongoDB server.

    Args:
        db_host: Host, ``host:port`` or ``mongodb://`` address of the server, with any options of the driver. The first
            connection is made on the first read or write; no answer within three seconds (or the address's
            ``serverSelectionTimeoutMS``) raises a :class:`~dacapo.errors.StorageError`.
        db_name: Name of the database.

    Raises:
        MissingDependencyError: If pymongo is not installed.
        ConfigError: If the address or the name is invalid.
    """

    def __init__(self, db_host: str, db_name: str) -> None:
        self.db_host = db_host
        self.db_name = db_name
        self.database = connect(db_host, db_name)
        self._indexed: set[str] = set()

    def _place_of(self, collection: Collection[Document], entry: str = "") -> str:
        """Return the location of a collection, or of an entry in it, for messages."""
        place = f"MongoDB at {without_secrets(self.db_host)}, {collection.full_name}"
        return f"{place}, {entry}" if entry else place


def connect(db_host: str, db_name: str) -> Database[Document]:
    """Return a database; the arguments are those of :class:`MongoStore`."""
    driver_error = optional_module("pymongo.errors", "stores in MongoDB need pymongo").PyMongoError
    if not isinstance(db_host, str):  # None would mean this machine
        raise ConfigError(f"the address of a MongoDB server must be a string, got {db_host!r}")
    try:
        return _client(db_host, os.getpid())[db_name]
    except (driver_error, ValueError, TypeError) as error:
        raise ConfigError(
            f"cannot use database {db_name!r} of the MongoDB server {without_secrets(db_host)!r}: {error}; "
            "check the options mongo_db_host and mongo_db_name"
        ) from error


@lru_cache(maxsize=8)
def _client(db_host: str, pid: int) -> MongoClient[Document]:
    # One client per process, since its threads and connections do not survive a fork.
    from pymongo import MongoClient

    given = "serverselectiontimeoutms" in db_host.lower()
    options: dict[str, Any] = {} if given else {"serverSelectionTimeoutMS": _SELECTION_TIMEOUT_MS}
    return MongoClient(db_host, appname="dacapo", **options)


@contextmanager
def mongo_errors(place: str) -> Iterator[None]:
    """Convert errors of the driver to those of this package.

    Args:
        place: The collection or entry that is read or written, for the message.

    Raises:
        StorageError: If the server cannot be reached or refuses the operation, or a value cannot be stored.
    """
    from bson.errors import BSONError
    from pymongo.errors import ConnectionFailure, PyMongoError

    try:
        yield
    except ConnectionFailure as error:
        cause = str(error).partition(" (configured timeouts")[0].partition(", Timeout:")[0]
        raise StorageError(
            f"cannot reach {place}: {cause}; check that the server runs, and the option mongo_db_host"
        ) from error
    except PyMongoError as error:
        raise StorageError(f"cannot read or write {place}: {str(error)[:_SHOWN]}") from error
    except (BSONError, OverflowError, UnicodeError) as error:
        raise StorageError(f"cannot keep a value in {place}: {str(error)[:_SHOWN]}") from error


def escape(value: Any) -> Any:
    """Encode plain values so that their keys can be field names; :func:`unescape` reverses it.

    >>> escape({"a.b": [{"$c": "d.e"}]})
    {'a%2Eb': [{'%24c': 'd.e'}]}
    """
    return _with_keys(value, lambda key: re.sub(r"[%.$\0]", lambda found: _ESCAPED[found[0]], key))


def unescape(value: Any) -> Any:
    """Reverse :func:`escape`.

    >>> unescape({"a%2Eb": {"100%": 1}})
    {'a.b': {'100%': 1}}
    """
    return _with_keys(value, lambda key: re.sub(r"%(?:25|2E|24|00)", lambda found: _UNESCAPED[found[0]], key))


def _with_keys(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {change(key): _with_keys(below, change) for key, below in value.items()}
    if isinstance(value, list):
        return [_with_keys(below, change) for below in value]
    return value
