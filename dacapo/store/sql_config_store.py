"""Configs as rows of a table in an SQL database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs

from dacapo.errors import DamagedFileError
from dacapo.store.plain_config_store import COLLECTIONS, PlainConfigStore
from dacapo.store.sql import CONFIGS, SqlStore, sa
from dacapo.utils.plain_json import parse_json


@attrs.frozen
class Kind:
    """The rows of one kind of config.

    Attributes:
        name: The kind, such as ``runs``.
    """

    name: str


class SqlConfigStore(SqlStore, PlainConfigStore):
    """Keeps each config as a row with its fields in JSON; the database lets a kind and name in once."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        for name in COLLECTIONS:
            setattr(self, name, Kind(name))

    def _names(self, database: Kind) -> list[str]:
        return [name for (name,) in self._rows(database, CONFIGS.c.name)]

    def _contents(self, database: Kind) -> Iterator[tuple[str, Any]]:
        for name, content in self._rows(database, CONFIGS.c.name, CONFIGS.c.content):
            yield name, self._parsed(database, name, content)

    def _read(self, database: Kind, name: str) -> Any:
        rows = self._rows(database, CONFIGS.c.content, name=name)
        if not rows:
            raise KeyError(name)
        return self._parsed(database, name, rows[0][0])

    def _write(self, database: Kind, name: str, plain: dict[str, Any]) -> bool:
        row = {"kind": database.name, "name": name, "content": json.dumps(plain)}
        with self._connection(self._place(database, name), write=True) as connection:
            assert connection is not None
            try:
                with connection.begin_nested():
                    connection.execute(sa.insert(CONFIGS), row)
            except sa.exc.IntegrityError:
                return False
        return True

    def _remove(self, database: Kind, name: str) -> bool:
        with self._connection(self._place(database, name), write=True) as connection:
            assert connection is not None
            return connection.execute(sa.delete(CONFIGS).where(*_where(database, name))).rowcount > 0

    def _rows(self, database: Kind, *columns: sa.Column[str], name: str = "") -> list[Any]:
        with self._connection(self._place(database, name)) as connection:
            if connection is None:
                return []
            return list(connection.execute(sa.select(*columns).where(*_where(database, name))))

    def _parsed(self, database: Kind, name: str, content: str) -> Any:
        try:
            return parse_json(content)
        except ValueError as error:
            raise DamagedFileError(f"{self._place(database, name)} is damaged: {error}") from error

    def _place(self, database: Kind, name: str = "") -> str:
        return self._place_of(database.name, repr(name) if name else "")


def _where(database: Kind, name: str) -> list[sa.ColumnElement[bool]]:
    of_kind = CONFIGS.c.kind == database.name
    return [of_kind, CONFIGS.c.name == name] if name else [of_kind]
