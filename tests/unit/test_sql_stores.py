"""Stores in SQL databases: the contracts, in SQLite and on a PostgreSQL server that these tests start."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from dacapo.errors import ConfigError, DamagedFileError, DuplicateNameError, MissingDependencyError, StorageError
from dacapo.experiments.training_stats import TrainingStats
from dacapo.options import DaCapoConfig, Options
from dacapo.store import sql, table_stats_store
from dacapo.store.config_store import ConfigStore
from dacapo.store.create_store import SQL_URL_VARIABLE, create_config_store, create_stats_store
from dacapo.store.sql_config_store import SqlConfigStore
from dacapo.store.sql_stats_store import SqlStatsStore
from dacapo.store.stats_store import StatsStore
from dacapo.testing.config_store import ConfigStoreContract, example
from dacapo.testing.stats_store import StatsStoreContract, training, validation
from tests.helpers import postgres
from tests.helpers.processes import PATIENCE

# Seconds for which processes write and read at the same time.
TOGETHER = float(os.environ.get("DACAPO_TEST_TOGETHER_SECONDS", "3"))
PROCESSES = 16

# Nothing listens on the first port.
NOBODY = "postgresql://me:secret@127.0.0.1:1/lab"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Return the address of a PostgreSQL server."""
    if postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed; Debian's package is postgresql")
    folder = Path(tempfile.mkdtemp(prefix="dacapo_pg_"))  # the path of a socket must be short
    try:
        with postgres.server(folder / "server") as address:
            yield address
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the address of an empty database."""
    sql._engine.cache_clear()
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'lab' / 'dacapo.db'}"
    else:
        yield request.getfixturevalue("server") + "/postgres"
        # Dropping the tables is faster than a database for each test.
        with sql._engine(
            sql.parse_url(request.getfixturevalue("server") + "/postgres"), os.getpid()
        ).begin() as connection:
            sql._TABLES.drop_all(connection)
    sql._engine.cache_clear()


class TestSqlConfigStore(ConfigStoreContract):
    @pytest.fixture
    def store(self, url: str) -> ConfigStore:
        return SqlConfigStore(url)

    @pytest.fixture
    def reopened(self, url: str) -> ConfigStore:
        sql._engine.cache_clear()
        return SqlConfigStore(url)


class TestSqlStatsStore(StatsStoreContract):
    @pytest.fixture
    def store(self, url: str) -> StatsStore:
        return SqlStatsStore(url)

    @pytest.fixture
    def reopened(self, url: str) -> StatsStore:
        sql._engine.cache_clear()
        return SqlStatsStore(url)


@pytest.fixture
def configs(url: str) -> SqlConfigStore:
    return SqlConfigStore(url)


@pytest.fixture
def stats(url: str) -> SqlStatsStore:
    return SqlStatsStore(url)


def _rows(store: Any, query: str) -> list[Any]:
    with store.engine.connect() as connection:
        return list(connection.exec_driver_sql(query))


def _change(store: Any, statement: str) -> None:
    with store.engine.begin() as connection:
        connection.exec_driver_sql(statement)


class TestConfigs:
    def test_reading_creates_nothing(self, configs: SqlConfigStore) -> None:
        assert configs.retrieve_task_config_names() == []
        assert sa.inspect(configs.engine).get_table_names() == []

    def test_the_slower_of_two_processes_is_told(
        self, configs: SqlConfigStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one, other = example("task"), attrs.evolve(example("task"), embedding_dims=9)
        SqlConfigStore(configs._url.render_as_string(hide_password=False)).store_task_config(other)
        with pytest.raises(DuplicateNameError, match="embedding_dims is 9, not 3"):
            configs.store_task_config(one)

    def test_a_damaged_row_is_an_error_that_says_where(self, configs: SqlConfigStore) -> None:
        configs.store_task_config(example("task"))
        _change(configs, "UPDATE dacapo_configs SET content = '[[['")
        with pytest.raises(DamagedFileError, match=r"the SQL database .*, tasks, 'example' is damaged"):
            configs.retrieve_task_config("example")


class TestStats:
    def test_a_save_adds_only_the_new_entries(self, stats: SqlStatsStore, monkeypatch: pytest.MonkeyPatch) -> None:
        stats.store_training_stats("run", training(0, 300))
        looked_at: list[int] = []

        def to_entry(entry: Any) -> Any:
            looked_at.append(entry.iteration)
            return attrs.asdict(entry)

        monkeypatch.setattr(table_stats_store, "to_entry", to_entry)
        stats.store_training_stats("run", training(0, 302))
        assert set(looked_at) == {299, 300, 301}
        assert stats.retrieve_training_stats("run") == training(0, 302)

    def test_a_save_that_fails_changes_nothing(self, stats: SqlStatsStore, monkeypatch: pytest.MonkeyPatch) -> None:
        stats.store_training_stats("run", training(0, 10))
        later = TrainingStats(training(0, 6).iteration_stats + training(6, 8, seed=1).iteration_stats)
        monkeypatch.setattr(table_stats_store, "encode", _fails_for(7))
        with pytest.raises(StorageError):
            stats.store_training_stats("run", later)
        assert stats.retrieve_training_stats("run") == training(0, 10)

    def test_a_damaged_row_is_an_error_that_says_where(self, stats: SqlStatsStore) -> None:
        stats.store_training_stats("run", training(0, 2))
        _change(stats, "UPDATE dacapo_training_stats SET entry = '{' WHERE iteration = 1")
        with pytest.raises(DamagedFileError, match=r"training_stats, run 'run' is damaged"):
            stats.retrieve_training_stats("run")

    def test_a_number_beyond_64_bits_is_refused(self, stats: SqlStatsStore) -> None:
        with pytest.raises(StorageError):
            stats.store_training_stats("run", training(2**70, 2**70 + 1))


def _fails_for(iteration: int) -> Any:
    original = table_stats_store.encode

    def encode(entry: dict[str, Any]) -> bytes:
        if entry["iteration"] == iteration:
            raise StorageError("no")
        return original(entry)

    return encode


class TestSecrets:
    @pytest.mark.parametrize(
        "access",
        [
            lambda: SqlConfigStore(NOBODY).retrieve_run_config_names(),
            lambda: SqlConfigStore(NOBODY).store_run_config(example("run")),
            lambda: SqlStatsStore(NOBODY).retrieve_training_stats("run"),
            lambda: SqlStatsStore(NOBODY).store_training_stats("run", training(0, 1)),
        ],
    )
    def test_a_server_that_does_not_answer(self, access: Any) -> None:
        with pytest.raises(StorageError, match=r"the SQL database postgresql\+psycopg://127.0.0.1:1/lab.*sql_url") as e:
            access()
        assert "secret" not in "".join(traceback.format_exception(e.value))

    def test_a_wrong_password_is_not_repeated(self, server: str) -> None:
        wrong = server.replace(postgres.PASSWORD, "wr0ng") + "/postgres"
        with pytest.raises(StorageError, match="password authentication failed") as error:
            SqlConfigStore(wrong).retrieve_run_config_names()
        assert "wr0ng" not in "".join(traceback.format_exception(error.value))

    def test_reprs_hide_them(self, url: str) -> None:
        for store in (SqlConfigStore(NOBODY), SqlStatsStore(NOBODY)):
            assert "secret" not in repr(store) + str(vars(store))
        options = DaCapoConfig(type="sql", sql_url=NOBODY, mongo_db_host="mongodb://me:secret@host")
        assert "secret" not in repr(options)
        assert "127.0.0.1:1/lab" in repr(options)


class TestAddresses:
    @pytest.mark.parametrize(
        "url", ["", "lab", "sqlite://", "sqlite:///:memory:", "nosuchdb://host/lab", "a b://c", None]
    )
    def test_unusable_ones(self, url: Any) -> None:
        for store in (SqlConfigStore, SqlStatsStore):
            with pytest.raises(ConfigError, match="SQL"):
                store(url)

    def test_a_missing_driver_is_named(self) -> None:
        script = (
            "import sys; sys.modules['psycopg'] = None\n"
            "from dacapo.store.sql_config_store import SqlConfigStore\n"
            f"SqlConfigStore({NOBODY!r})"
        )
        assert "pip install 'dacapo[postgresql]'" in _error_of(script)

    def test_missing_sqlalchemy_is_named(self) -> None:
        script = "import sys; sys.modules['sqlalchemy'] = None\nimport dacapo.store.sql_config_store"
        assert "pip install 'dacapo[sql]'" in _error_of(script)
        assert issubclass(MissingDependencyError, ImportError)

    def test_files_need_no_sqlalchemy(self) -> None:
        script = "import sys, dacapo.store.create_store; assert 'sqlalchemy' not in sys.modules"
        subprocess.run([sys.executable, "-c", script], check=True)


def _error_of(script: str) -> str:
    got = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert got.returncode == 1
    return got.stderr


class TestOptions:
    def test_by_default_a_file_beside_the_runs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(SQL_URL_VARIABLE, raising=False)
        options = DaCapoConfig(type="sql", runs_base_dir=tmp_path)
        create_config_store(options).store_run_config(example("run"))
        create_stats_store(options).store_validation_iteration_scores("example", validation(100))
        assert (tmp_path / "dacapo.db").is_file()
        assert create_config_store(options).retrieve_run_config_names() == ["example"]
        assert not (tmp_path / "configs").exists()
        assert not (tmp_path / "stats").exists()

    def test_the_address_comes_from_the_environment_or_a_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def file_of(**given: Any) -> str:
            store = create_config_store(DaCapoConfig(type="sql", runs_base_dir=tmp_path, **given))
            assert isinstance(store, SqlConfigStore)
            return Path(str(store._url.database)).name

        monkeypatch.setenv(SQL_URL_VARIABLE, f"sqlite:///{tmp_path}/environment.db")
        named = tmp_path / "url"
        named.write_text(f"sqlite:///{tmp_path}/file.db\n")
        assert file_of() == "environment.db"
        assert file_of(sql_url_file=str(named)) == "file.db"
        assert file_of(sql_url=f"sqlite:///{tmp_path}/option.db") == "option.db"
        with pytest.raises(ConfigError, match="remove one"):
            file_of(sql_url="sqlite:///x.db", sql_url_file=str(named))
        named.write_text("")
        with pytest.raises(ConfigError, match="is empty"):
            file_of(sql_url_file=str(named))
        with pytest.raises(ConfigError, match="cannot read the address"):
            file_of(sql_url_file=str(tmp_path / "missing"))

    def test_a_training_writes_there(self, tmp_path: Path) -> None:
        with Options.override(type="sql", runs_base_dir=tmp_path):
            create_stats_store().store_training_stats("run", training(0, 3))
            assert create_stats_store().retrieve_training_stats("run").trained_until() == 3


def _write_and_read(url: str, name: str, others: list[str], start: Any, results: Any) -> None:
    """Store a growing record for a time, and read those of all others, which must only grow."""
    configs, stats = SqlConfigStore(url), SqlStatsStore(url)
    configs.store_run_config(example("run", name))
    seen, iteration = dict.fromkeys(others, 0), 0
    start.wait(PATIENCE)
    until = time.time() + TOGETHER
    while time.time() < until:
        iteration += 10
        stats.store_training_stats(name, training(0, iteration))
        for other in others:
            read = stats.retrieve_training_stats(other)
            assert read == training(0, read.trained_until()), f"{other} has gaps or duplicates"
            assert read.trained_until() >= seen[other], f"{other} has lost entries"
            seen[other] = read.trained_until()
    results.put((name, iteration))


def test_processes_that_write_and_read_at_the_same_time_lose_nothing(url: str) -> None:
    context = multiprocessing.get_context("fork" if url.startswith("sqlite") else "spawn")
    names = [f"run_{index}" for index in range(PROCESSES if TOGETHER > 10 else 4)]
    results, start = context.Queue(), context.Barrier(len(names))
    sql._engine.cache_clear()
    processes = [
        context.Process(target=_write_and_read, args=(url, name, [n for n in names if n != name], start, results))
        for name in names
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(TOGETHER + PATIENCE)
    assert [process.exitcode for process in processes] == [0] * len(names)
    stats = SqlStatsStore(url)
    assert SqlConfigStore(url).retrieve_run_config_names() == sorted(names)
    assert stats.run_names() == sorted(names)
    for name, iteration in (results.get(timeout=PATIENCE) for _ in names):
        assert iteration > 0
        assert stats.retrieve_training_stats(name) == training(0, iteration)
