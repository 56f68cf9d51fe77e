"""Runs in stores of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from dacapo.options import Options
from dacapo.store.create_store import create_config_store
from dacapo.store.migrate import migrate
from dacapo.train import train
from tests.helpers.runs import affinities_run_config, dummy_run_config

KINDS = ("files", "sql", "mongo")


@contextmanager
def settings_of(kind: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the options of stores of a kind, with a database of their own."""
    if kind != "mongo":
        yield {"type": "sql", "sql_url": f"sqlite:///{folder}/lab.db"} if kind == "sql" else {}
        return
    import mongomock

    from dacapo.store import mongo

    mongo._client.cache_clear()
    with mongomock.patch(servers=(("mongo.example", 27017),)):
        yield {"type": "mongo", "mongo_db_host": "mongodb://mongo.example:27017", "mongo_db_name": "lab"}
    mongo._client.cache_clear()


def train_three(base: Path) -> None:
    """Train two runs ``cells_a`` and ``cells_b`` in two dimensions, the first one in two sessions, and a ``dummy``."""
    Options.reset()
    with Options.override(runs_base_dir=base / "runs"):
        config = affinities_run_config(base, "cells_a", dims=2, num_iterations=2, validation_interval=2)
        other = attrs.evolve(
            config, name="cells_b", trainer_config=attrs.evolve(config.trainer_config, learning_rate=0.01)
        )
        for one in (config, other, dummy_run_config()):
            create_config_store().store_run_config(one)
            train(one.name)
        train(config.name, num_iterations=4)


def move_to(kind_settings: dict[str, Any]) -> None:
    """Copy configs, statistics and scores of the files of the options in use to the stores of other settings."""
    source = Options.instance()
    if kind_settings:
        migrate(source, attrs.evolve(source, **kind_settings))
