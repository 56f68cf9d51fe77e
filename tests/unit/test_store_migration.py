"""Configs, statistics and scores copied between all kinds of stores."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner

from dacapo.cli import cli
from dacapo.errors import ConfigError, DuplicateNameError, RecordError
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_config_store, create_stats_store
from dacapo.store.migrate import Migrated, migrate, place_of
from dacapo.testing.config_store import KINDS, example
from dacapo.testing.stats_store import training, validation

PAIRS = [*itertools.permutations(["files", "sql", "mongo"], 2), ("files", "copy")]


@pytest.fixture
def places(tmp_path: Path) -> Iterator[dict[str, DaCapoConfig]]:
    """Return settings for an empty store of each kind."""
    import mongomock

    from dacapo.store import mongo

    mongo._client.cache_clear()
    with mongomock.patch(servers=(("mongo.example", 27017),)):
        yield {
            "files": place_of(str(tmp_path / "runs")),
            "copy": place_of(str(tmp_path / "copy")),
            "sql": place_of(f"sqlite:///{tmp_path}/lab.db"),
            "mongo": place_of("mongodb://mongo.example:27017/lab"),
        }
    mongo._client.cache_clear()


def _fill(place: DaCapoConfig) -> None:
    configs, stats = create_config_store(place), create_stats_store(place)
    for kind in KINDS:
        getattr(configs, f"store_{kind}_config")(example(kind))
    configs.store_run_config(example("run", "second"))
    stats.store_training_stats("example", training(0, 20))
    stats.store_validation_iteration_scores("example", validation(10, 20))
    stats.store_training_stats("without config", training(0, 5))


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_everything_is_copied_and_compared(places: dict[str, DaCapoConfig], source: str, target: str) -> None:
    _fill(places[source])
    assert migrate(places[source], places[target]) == Migrated(len(KINDS) + 1, 2, 25, 2)
    configs, stats = create_config_store(places[target]), create_stats_store(places[target])
    for kind in KINDS:
        assert getattr(configs, f"retrieve_{kind}_config")("example") == example(kind)
    assert configs.retrieve_run_config_names() == ["example", "second"]
    assert stats.retrieve_training_stats("example") == training(0, 20)
    assert [scores.iteration for scores in stats.retrieve_validation_iteration_scores("example")] == [10, 20]
    assert stats.retrieve_training_stats("without config") == training(0, 5)


def test_it_can_be_repeated_and_copies_what_was_added(places: dict[str, DaCapoConfig]) -> None:
    _fill(places["files"])
    before = migrate(places["files"], places["sql"])
    assert migrate(places["files"], places["sql"]) == before
    create_stats_store(places["files"]).store_training_stats("example", training(0, 30))
    assert migrate(places["files"], places["sql"]).iterations == before.iterations + 10
    assert create_stats_store(places["sql"]).retrieve_training_stats("example") == training(0, 30)


def test_nothing_of_the_target_is_written_over(places: dict[str, DaCapoConfig]) -> None:
    _fill(places["files"])
    other = attrs.evolve(example("task"), embedding_dims=9)
    create_config_store(places["sql"]).store_task_config(other)
    with pytest.raises(DuplicateNameError, match="embedding_dims is 9, not 3"):
        migrate(places["files"], places["sql"])
    assert create_config_store(places["sql"]).retrieve_task_config("example") == other


@pytest.mark.parametrize("existing", [training(0, 5, seed=1), training(0, 30)])
def test_another_record_is_an_error(places: dict[str, DaCapoConfig], existing: object) -> None:
    _fill(places["files"])
    stats = create_stats_store(places["sql"])
    stats.store_training_stats("example", existing)  # type: ignore[arg-type]
    with pytest.raises(RecordError, match="another record of run 'example'"):
        migrate(places["files"], places["sql"])
    assert stats.retrieve_training_stats("example") == existing


def test_places_by_text(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(f"type: sql\nsql_url: sqlite:///{tmp_path}/x.db\n")
    assert place_of(str(file)) == DaCapoConfig(type="sql", sql_url=f"sqlite:///{tmp_path}/x.db")
    assert place_of("~/runs").runs_base_dir == Path("~/runs").expanduser()
    mongo = place_of("mongodb://me:pass@host:1/lab?tls=true")
    assert (mongo.mongo_db_host, mongo.mongo_db_name) == ("mongodb://me:pass@host:1/?tls=true", "lab")
    for wrong in ("mongodb://host", str(tmp_path / "missing.yaml"), str(Path(__file__).with_name("api_modules.txt"))):
        with pytest.raises(ConfigError):
            place_of(wrong)


def test_the_command(tmp_path: Path) -> None:
    _fill(place_of(str(tmp_path / "runs")))
    command = ["store", "migrate", str(tmp_path / "runs"), f"sqlite:///{tmp_path}/lab.db"]
    for _ in range(2):
        done = CliRunner().invoke(cli, command, catch_exceptions=False)
        assert done.exit_code == 0
        assert "all 7 configs, and of 2 runs 25 iterations and 2 validations" in done.output
