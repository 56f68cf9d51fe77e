"""Connect to an SQL database by SQLAlchemy (the extra ``sql``), and define the tables of the stores in it.

Everything is kept as text in JSON, so that numbers come back as they were, NaN included.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from dacapo.errors import ConfigError, MissingDependencyError, StorageError
from dacapo.ext import install_line, optional_module
from dacapo.store.record_stats_store import TRAINING, VALIDATION
from dacapo.utils.addresses import without_secrets

optional_module("sqlalchemy", "stores in SQL databases need SQLAlchemy")

import sqlalchemy as sa  # noqa: E402

__all__ = ["CONFIGS", "RECORDS", "SqlStore", "parse_url", "sa", "sql_errors"]

# Seconds to wait for a server, and for another process that writes to a SQLite file.
_CONNECT_TIMEOUT = 10
_LOCK_TIMEOUT = 60

# Any number that no other program is likely to use.
_ADVISORY_LOCK = 0xDACA90

# The driver's messages can repeat the whole statement.
_SHOWN = 300

_TABLES = sa.MetaData()

CONFIGS = sa.Table(
    "dacapo_configs",
    _TABLES,
    sa.Column("kind", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("content", sa.Text, nullable=False),
)


def _record_table(kind: str) -> sa.Table:
    return sa.Table(
        f"dacapo_{kind}",
        _TABLES,
        sa.Column("run_name", sa.String(255), primary_key=True),
        sa.Column("iteration", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("entry", sa.Text, nullable=False),
    )


RECORDS = {kind: _record_table(kind) for kind in (TRAINING, VALIDATION)}


class SqlStore:
    """A store in an SQL database.

    Args:
        url: Address of the database as SQLAlchemy reads it: ``sqlite:///<path>`` for a file on this machine,
            ``postgresql://<user>@<host>/<database>`` for a server. The first connection is made on the first read or
            write; the tables are made on the first write.

    Raises:
        MissingDependencyError: If SQLAlchemy or the driver is not installed.
        ConfigError: If the address is invalid.
    """

    def __init__(self, url: str) -> None:
        self._url = parse_url(url)
        self.engine = _engine(self._url, os.getpid())
        self._has_tables = False

    @property
    def url(self) -> str:
        """The address, without secrets."""
        return without_secrets(self._url.render_as_string())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _place_of(self, table: str, entry: str = "") -> str:
        """Return the location of a table, or of an entry in it, for messages."""
        place = f"the SQL database {self.url}, {table}"
        return f"{place}, {entry}" if entry else place

    @contextmanager
    def _connection(self, place: str, write: bool = False) -> Iterator[sa.Connection | None]:
        """Open a transaction, which is committed at the end, unless an exception ends it.

        Yields:
            None if nothing has been stored yet, and the connection is not for writing.
        """
        with sql_errors(place), self.engine.connect() as opened:
            connection = opened.execution_options(writes=write)
            with connection.begin():
                if not self._has_tables:
                    self._has_tables = sa.inspect(connection).has_table(CONFIGS.name)
                if not self._has_tables and write:
                    _create_tables(connection)
                    self._has_tables = True
                yield connection if self._has_tables else None


def parse_url(url: str) -> sa.URL:
    """Return the parts of an address.

    Raises:
        ConfigError: If it is not the address of an SQL database.
    """
    if not isinstance(url, str):
        raise ConfigError(f"the address of an SQL database must be a string, got {url!r}")
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ConfigError(
            f"{without_secrets(url)!r} is not the address of an SQL database; write for example "
            "sqlite:////data/dacapo.db or postgresql://user@host/database"
        ) from error
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(database=str(Path(str(parsed.database)).expanduser().absolute()))
    return parsed


@lru_cache(maxsize=8)
def _engine(url: sa.URL, pid: int) -> sa.Engine:
    # One engine per process, since connections do not survive a fork.
    backend = url.get_backend_name()
    if backend == "sqlite" and url.database in (None, "", ":memory:"):
        raise ConfigError("a SQLite database in memory would be lost; name a file, such as sqlite:////data/dacapo.db")
    arguments = {"sqlite": {"timeout": _LOCK_TIMEOUT}, "postgresql": {"connect_timeout": _CONNECT_TIMEOUT}}
    try:
        # hide_parameters keeps what is stored out of messages.
        engine = sa.create_engine(
            url, connect_args=arguments.get(backend, {}), pool_pre_ping=backend != "sqlite", hide_parameters=True
        )
    except ModuleNotFoundError as error:
        driver = str(error.name)
        raise MissingDependencyError(
            f"the SQL database {without_secrets(url.render_as_string())} needs {driver}; "
            f"install it with: {install_line(driver)}"
        ) from error
    except (sa.exc.ArgumentError, TypeError) as error:
        address = without_secrets(url.render_as_string())
        raise ConfigError(f"cannot use the SQL database {address}: {_first_line(error)}") from error
    if backend == "sqlite":
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    # A log of changes lets others read while one process writes.
    connection.execute("PRAGMA journal_mode=WAL")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later fails, without waiting, if another one writes in between.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _create_tables(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Two processes that create a table at the same time fail, even with IF NOT EXISTS.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    _TABLES.create_all(connection)


@contextmanager
def sql_errors(place: str) -> Iterator[None]:
    """Convert errors of the driver to those of this package.

    Args:
        place: The table or entry that is read or written, for the message.

    Raises:
        StorageError: If the database cannot be reached or refuses the operation, or a value cannot be stored.
    """
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise StorageError(f"{place} was changed by another process at the same time: {_first_line(error)}") from error
    except sa.exc.SQLAlchemyError as error:
        raise StorageError(
            f"cannot read or write {place}: {_first_line(error)}; check the database and the option sql_url"
        ) from error
    except (OverflowError, UnicodeError) as error:
        raise StorageError(f"cannot keep a value in {place}: {str(error)[:_SHOWN]}") from error


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:_SHOWN]
