"""Stores in MongoDB: the contracts, against mongomock and the server that DACAPO_TEST_MONGO_URI names, if it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import bson
import pymongo
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import DuplicateKeyError

from dacapo.errors import ConfigError, DuplicateNameError, MissingDependencyError, NotFoundError, StorageError
from dacapo.experiments.training_stats import TrainingStats
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.options import DaCapoConfig
from dacapo.store import mongo, table_stats_store
from dacapo.store.config_store import ConfigStore
from dacapo.store.converter import to_plain
from dacapo.store.create_store import create_array_store, create_config_store, create_stats_store
from dacapo.store.mongo_config_store import MongoConfigStore
from dacapo.store.mongo_stats_store import MongoStatsStore
from dacapo.store.stats_store import StatsStore
from dacapo.testing.config_store import ConfigStoreContract, example
from dacapo.testing.stats_store import StatsStoreContract, training, validation

URI = os.environ.get("DACAPO_TEST_MONGO_URI")

# Nothing listens on the first port.
NOBODY = "mongodb://me:secret@127.0.0.1:1/?serverSelectionTimeoutMS=100"

Database = tuple[str, str]


@pytest.fixture(params=["mongomock", "server"] if URI else ["mongomock"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """Return the host and the name of an empty database."""
    name = f"dacapo_test_{uuid.uuid4().hex}"
    mongo._client.cache_clear()
    if request.param == "server":
        yield str(URI), name
        pymongo.MongoClient(URI).drop_database(name)
    else:
        import mongomock

        with mongomock.patch(servers=(("mongo.example", 27017),)):
            yield "mongodb://mongo.example:27017", name
    mongo._client.cache_clear()


class TestMongoConfigStore(ConfigStoreContract):
    @pytest.fixture
    def store(self, database: Database) -> ConfigStore:
        return MongoConfigStore(*database)

    @pytest.fixture
    def reopened(self, database: Database) -> ConfigStore:
        mongo._client.cache_clear()
        return MongoConfigStore(*database)


class TestMongoStatsStore(StatsStoreContract):
    @pytest.fixture
    def store(self, database: Database) -> StatsStore:
        return MongoStatsStore(*database)

    @pytest.fixture
    def reopened(self, database: Database) -> StatsStore:
        mongo._client.cache_clear()
        return MongoStatsStore(*database)


@pytest.fixture
def configs(database: Database) -> MongoConfigStore:
    return MongoConfigStore(*database)


@pytest.fixture
def stats(database: Database) -> MongoStatsStore:
    return MongoStatsStore(*database)


class TestConfigs:
    def test_a_document_has_the_fields_of_the_config(self, configs: MongoConfigStore) -> None:
        configs.store_run_config(example("run"))
        document: Any = configs.database["runs"].find_one({"task_config.embedding_dims": 3}, {"_id": False})
        assert document == to_plain(example("run"))
        assert list(document) == list(to_plain(example("run")))

    def test_only_the_run_is_stored_with_a_run(self, configs: MongoConfigStore) -> None:
        configs.store_run_config(example("run"))
        assert configs.database.list_collection_names() == ["runs"]

    def test_reading_creates_nothing(self, configs: MongoConfigStore) -> None:
        assert configs.retrieve_task_config_names() == []
        assert configs.database.list_collection_names() == []

    def test_datasets_can_be_stored_too(self, configs: MongoConfigStore) -> None:
        dataset = example("datasplit").train_config
        configs.store_dataset_config(dataset)
        assert configs.retrieve_dataset_config_names() == ["data"]
        assert configs.retrieve_dataset_config("data") == dataset
        configs.delete_dataset_config("data")
        assert configs.retrieve_dataset_config_names() == []

    def test_delete_config_takes_a_collection(self, configs: MongoConfigStore) -> None:
        configs.store_task_config(example("task"))
        with pytest.raises(NotFoundError, match="none is stored"):
            configs.delete_config(configs.trainers, "example")
        configs.delete_config(configs.tasks, "example")
        assert configs.retrieve_task_config_names() == []

    def test_the_server_lets_a_name_in_once(self, configs: MongoConfigStore) -> None:
        configs.store_task_config(example("task"))
        with pytest.raises(DuplicateKeyError):
            configs.tasks.insert_one({"name": "example"})

    def test_the_slower_of_two_processes_is_told(
        self, configs: MongoConfigStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one, other = example("task"), attrs.evolve(example("task"), embedding_dims=9)
        write = configs._write

        def be_late(*args: Any) -> bool:
            configs.tasks.insert_one(to_plain(other))
            return write(*args)

        monkeypatch.setattr(configs, "_write", be_late)
        with pytest.raises(DuplicateNameError, match="embedding_dims is 9, not 3"):
            configs.store_task_config(one)

    def test_a_damaged_document_is_an_error_that_says_where(self, configs: MongoConfigStore) -> None:
        configs.tasks.insert_one({"name": "bad", "__type__": "DummyTaskConfig"})
        with pytest.raises(ConfigError, match=rf"{configs.db_name}.tasks, 'bad': .*embedding_dims"):
            configs.retrieve_task_config("bad")

    @pytest.mark.parametrize("name", ["configs", "stats"])
    def test_a_run_cannot_take_the_place_of_a_folder(self, configs: MongoConfigStore, name: str) -> None:
        with pytest.raises(ConfigError, match="rename the run"):
            configs.store_run_config(example("run", name))


class TestStats:
    def test_a_save_adds_only_what_is_new(self, stats: MongoStatsStore, monkeypatch: pytest.MonkeyPatch) -> None:
        stats.store_training_stats("run", training(0, 300))
        before = [document["_id"] for document in stats.training_stats.find()]
        looked_at: list[int] = []

        def to_entry(entry: Any) -> Any:
            looked_at.append(entry.iteration)
            return attrs.asdict(entry)

        monkeypatch.setattr(table_stats_store, "to_entry", to_entry)
        stats.store_training_stats("run", training(0, 302))
        assert set(looked_at) == {299, 300, 301}
        assert [document["_id"] for document in stats.training_stats.find()][:300] == before
        assert stats.retrieve_training_stats("run") == training(0, 302)

    def test_going_back_keeps_the_documents_before(self, stats: MongoStatsStore) -> None:
        stats.store_training_stats("run", training(0, 10))
        before = [document["_id"] for document in stats.training_stats.find()]
        later = TrainingStats(training(0, 6).iteration_stats + training(6, 8, seed=1).iteration_stats)
        stats.store_training_stats("run", later)
        assert [document["_id"] for document in stats.training_stats.find()][:6] == before[:6]
        assert stats.retrieve_training_stats("run") == later

    def test_the_server_lets_an_iteration_in_once(self, stats: MongoStatsStore) -> None:
        stats.store_training_stats("run", training(0, 1))
        stats.store_training_stats("other", training(0, 1))
        with pytest.raises(DuplicateKeyError):
            stats.training_stats.insert_one({"run_name": "run", "iteration": 0})

    def test_what_a_killed_save_left_is_continued(self, stats: MongoStatsStore) -> None:
        stats.store_training_stats("run", training(0, 10))
        stats.training_stats.delete_many({"iteration": {"$gte": 7}})
        stats.store_training_stats("run", training(0, 12))
        assert stats.retrieve_training_stats("run") == training(0, 12)

    def test_documents_with_other_fields_too_are_read(self, stats: MongoStatsStore) -> None:
        stats.validation_scores.insert_one({"iteration": 5, "run_name": "run", "scores": [[[0.5]]], "by": "someone"})
        assert stats.retrieve_validation_iteration_scores("run") == [ValidationIterationScores(5, [[[0.5]]])]

    def test_other_documents_are_an_error(self, stats: MongoStatsStore) -> None:
        stats.training_stats.insert_one({"iteration": 5, "run_name": "run"})
        with pytest.raises(StorageError, match=r"training_stats, run 'run' does not hold .* TrainingIterationStats"):
            stats.retrieve_training_stats("run")

    def test_deleting_leaves_other_runs(self, stats: MongoStatsStore) -> None:
        for run in ("a", "b"):
            stats.store_training_stats(run, training(0, 2))
            stats.store_validation_iteration_scores(run, validation(1))
        stats.delete_training_stats("a")
        stats.delete_validation_scores("a")
        stats.store_training_stats("a", training(0, 0))
        assert stats.retrieve_training_stats("b") == training(0, 2)
        assert len(stats.retrieve_validation_iteration_scores("b")) == 1


class TestServer:
    """What needs no server, or none that answers."""

    @pytest.mark.parametrize(
        "access",
        [
            lambda: MongoConfigStore(NOBODY, "lab").retrieve_run_config_names(),
            lambda: MongoConfigStore(NOBODY, "lab").retrieve_run_config("run"),
            lambda: MongoConfigStore(NOBODY, "lab").store_run_config(example("run")),
            lambda: MongoConfigStore(NOBODY, "lab").delete_run_config("run"),
            lambda: MongoStatsStore(NOBODY, "lab").retrieve_training_stats("run"),
            lambda: MongoStatsStore(NOBODY, "lab").retrieve_training_stats("run", subsample=True),
            lambda: MongoStatsStore(NOBODY, "lab").store_training_stats("run", training(0, 1)),
            lambda: MongoStatsStore(NOBODY, "lab").delete_training_stats("run"),
        ],
    )
    def test_that_does_not_answer_is_an_error(self, access: Any) -> None:
        start = time.monotonic()
        with pytest.raises(
            StorageError, match=r"cannot reach MongoDB at mongodb://127.0.0.1:1/, lab\..*mongo_db_host"
        ) as error:
            access()
        assert time.monotonic() - start < 25, "the default of MongoDB is 30"
        assert "secret" not in str(error.value)
        assert len(str(error.value)) < 300

    def test_is_not_waited_for_long(self) -> None:
        assert mongo.connect("nobody.invalid", "lab").client.options.server_selection_timeout == 3
        own = mongo.connect("mongodb://nobody.invalid/?serverSelectionTimeoutMS=70", "lab").client
        assert own.options.server_selection_timeout == 0.07

    def test_is_not_spoken_to_before_it_is_needed(self) -> None:
        MongoConfigStore("nobody.invalid", "lab")
        MongoStatsStore("nobody.invalid", "lab")

    def test_stores_share_a_connection(self) -> None:
        assert MongoConfigStore("h", "lab").database.client is MongoStatsStore("h", "other").database.client

    @pytest.mark.parametrize(
        ("host", "name"),
        [
            ("", "lab"),
            (None, "lab"),
            ("host:port", "lab"),
            ("mongodb://", "lab"),
            ("host", ""),
            ("host", "a.b"),
            ("mongodb://me:se/cret@host", "lab"),
            ("mongodb://me:s@cret@host", "lab"),
        ],
    )
    def test_addresses_that_cannot_be_one(self, host: Any, name: str) -> None:
        for store in (MongoConfigStore, MongoStatsStore):
            with pytest.raises(ConfigError, match="MongoDB") as error:
                store(host, name)
            assert "cret@" not in str(error.value)

    @pytest.mark.parametrize("value", [2**70, "\ud800"])
    def test_values_that_it_cannot_keep(self, value: Any) -> None:
        with pytest.raises(StorageError, match="cannot keep a value in here"), mongo.mongo_errors("here"):
            bson.encode({"value": value})


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.sampled_from("ab%.$\0 25E4/"), max_size=6), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(plain=PLAIN)
def test_plain_values_survive_as_documents(plain: Any) -> None:
    # By way of the bytes that go to a server.
    document = bson.decode(bson.encode({"value": mongo.escape(plain)}))
    # As text, in which NaN equals NaN.
    assert json.dumps(mongo.unescape(document)["value"]) == json.dumps(plain)


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from _keys(below)


@given(plain=PLAIN)
def test_keys_hold_nothing_that_has_a_meaning(plain: Any) -> None:
    assert not any(set(key) & set(".$\0") for key in _keys(mongo.escape(plain)))


def test_options_choose_the_stores(database: Database, tmp_path: Path) -> None:
    host, name = database
    options = DaCapoConfig(type="mongo", mongo_db_host=host, mongo_db_name=name, runs_base_dir=tmp_path)
    configs, stats = create_config_store(options), create_stats_store(options)
    assert isinstance(configs, MongoConfigStore)
    assert isinstance(stats, MongoStatsStore)
    assert (configs.db_host, configs.db_name) == (stats.db_host, stats.db_name) == database
    configs.store_run_config(example("run"))
    stats.store_validation_iteration_scores("example", validation(100))
    assert create_config_store(options).retrieve_run_config_names() == ["example"]
    assert create_array_store(options).snapshot_container("run").container.is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "name"), [(None, None), ("mongodb://me:secret@host", None), (None, "lab"), ("", "lab")]
)
def test_options_without_a_server_or_database(host: str | None, name: str | None) -> None:
    for create in (create_config_store, create_stats_store):
        with pytest.raises(ConfigError, match=r"mongo_db_host and mongo_db_name") as error:
            create(DaCapoConfig(type="mongo", mongo_db_host=host, mongo_db_name=name))
        assert "secret" not in str(error.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "pymongo"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pymongo", None)
    for store in (MongoConfigStore, MongoStatsStore):
        with pytest.raises(MissingDependencyError, match=r"pip install 'dacapo\[mongo\]'"):
            store("host", "lab")


def test_stores_in_files_load_no_driver() -> None:
    script = "import sys, dacapo.store.create_store; print('pymongo' in sys.modules)"
    got = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert got.stdout.strip() == "False"
