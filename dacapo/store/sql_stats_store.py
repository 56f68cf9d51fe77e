"""Training statistics and validation scores as rows in an SQL database, one per run and iteration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dacapo.errors import DamagedFileError
from dacapo.store.json_lines import Entry
from dacapo.store.sql import RECORDS, SqlStore, sa
from dacapo.store.table_stats_store import Record, TableStatsStore
from dacapo.utils.plain_json import parse_json


class SqlStatsStore(SqlStore, TableStatsStore):
    """Keeps each entry as a row; a save is one transaction."""

    @contextmanager
    def _open(self, kind: str, run_name: str, write: bool = False) -> Iterator[Record]:
        place = self._place_of(kind, f"run {run_name!r}")
        with self._connection(place, write) as connection:
            yield _SqlRecord(connection, RECORDS[kind], run_name, place)

    def _run_names(self, kind: str) -> list[str]:
        with self._connection(self._place_of(kind)) as connection:
            query = sa.select(RECORDS[kind].c.run_name).distinct()
            return [] if connection is None else [name for (name,) in connection.execute(query)]


class _SqlRecord:
    """The rows of one run in a table; none without a connection."""

    def __init__(self, connection: sa.Connection | None, table: sa.Table, run_name: str, place: str) -> None:
        self._connection = connection
        self._table = table
        self._run = run_name
        self.place = place

    def iterations(self) -> list[int]:
        column = self._table.c.iteration
        return [] if self._connection is None else list(self._connection.scalars(self._select(column).order_by(column)))

    def end(self, last: bool) -> Entry | None:
        column = self._table.c.iteration
        found = list(self._entries(self._select().order_by(column.desc() if last else column).limit(1)))
        return found[0] if found else None

    def since(self, iteration: int | None) -> Iterator[Entry]:
        return self._entries(self._select().where(*self._since(iteration)).order_by(self._table.c.iteration))

    def of(self, iterations: Sequence[int]) -> Iterator[Entry]:
        wanted = self._select().where(self._table.c.iteration.in_(iterations))
        return self._entries(wanted.order_by(self._table.c.iteration))

    def delete(self, since: int | None) -> None:
        assert self._connection is not None
        self._connection.execute(sa.delete(self._table).where(self._of_run(), *self._since(since)))

    def append(self, entries: Sequence[Entry]) -> None:
        assert self._connection is not None
        rows = [
            {"run_name": self._run, "iteration": entry["iteration"], "entry": json.dumps(entry)} for entry in entries
        ]
        self._connection.execute(sa.insert(self._table), rows)

    def _select(self, column: sa.Column[int] | None = None) -> sa.Select[tuple[int]]:
        return sa.select(self._table.c.entry if column is None else column).where(self._of_run())

    def _of_run(self) -> sa.ColumnElement[bool]:
        return self._table.c.run_name == self._run

    def _since(self, iteration: int | None) -> list[sa.ColumnElement[bool]]:
        return [] if iteration is None else [self._table.c.iteration >= iteration]

    def _entries(self, query: sa.Select[tuple[int]]) -> Iterator[Entry]:
        texts = [] if self._connection is None else self._connection.scalars(query).all()
        try:
            # One call of the parser is several times as fast as one per row.
            yield from parse_json(f"[{','.join(map(str, texts))}]")
        except ValueError as error:
            raise DamagedFileError(f"{self.place} is damaged: {error}") from error
