"""Copy configs, statistics and scores from one store to another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from dacapo.errors import ConfigError, DuplicateNameError, RecordError
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_config_store, create_stats_store
from dacapo.store.files import is_file, read_text
from dacapo.store.json_lines import encode
from dacapo.store.plain_config_store import COLLECTIONS, PlainConfigStore
from dacapo.store.record_stats_store import TRAINING, VALIDATION, RecordStatsStore, to_entry
from dacapo.utils.addresses import without_secrets
from dacapo.utils.plain_yaml import parse_yaml


@attrs.frozen
class Migrated:
    """The number of entries that the target holds and that were compared with those of the source.

    Attributes:
        configs: Configs of all kinds.
        runs: Runs with statistics or scores.
        iterations: Iterations with statistics.
        validations: Iterations with scores.
    """

    configs: int = 0
    runs: int = 0
    iterations: int = 0
    validations: int = 0


def place_of(text: str) -> DaCapoConfig:
    """Return the settings of the stores that a text names.

    Args:
        text: A file with options, a ``runs_base_dir``, or the address of a database: ``sqlite:///<path>``,
            ``postgresql://<user>@<host>/<database>`` or ``mongodb://<host>/<database>``.

    Raises:
        ConfigError: If it is none of them.
    """
    if re.match(r"mongodb(\+srv)?://", text):
        address, _, options = text.partition("?")
        host, _, name = address.rpartition("/")
        if not name or host.endswith("/"):
            raise ConfigError(f"{without_secrets(text)!r} names no database; write mongodb://<host>/<database>")
        return DaCapoConfig(type="mongo", mongo_db_host=f"{host}/?{options}" if options else host, mongo_db_name=name)
    if re.match(r"[\w+]+://", text):
        return DaCapoConfig(type="sql", sql_url=text)
    path = Path(text).expanduser()
    if is_file(path):
        values = parse_yaml(read_text(path), str(path))
        if not isinstance(values, dict) or set(values) - {field.name for field in attrs.fields(DaCapoConfig)}:
            raise ConfigError(f"{path} does not hold options of dacapo; give a file such as dacapo.yaml")
        return DaCapoConfig(**values)
    if path.suffix in (".yaml", ".yml"):
        raise ConfigError(f"there is no file {path}; give a file of options, a folder, or the address of a database")
    return DaCapoConfig(runs_base_dir=path)


def migrate(source: DaCapoConfig, target: DaCapoConfig) -> Migrated:
    """Copy all configs, statistics and scores, and read them back to compare them.

    Entries that the target has already stay. It can therefore be repeated: after an interruption, or to copy what was
    added since. Checkpoints and arrays are files below ``runs_base_dir`` with every kind of store, and are not copied.

    Returns:
        The entries that the target now shares with the source.

    Raises:
        DuplicateNameError: If the target has another config under the name of one of the source.
        RecordError: If the target has statistics or scores of a run that are not the beginning of those in the source,
            or not read back as they were written.
    """
    configs = _copy_configs(create_config_store(source), create_config_store(target))
    sizes = list(_copy_records(create_stats_store(source), create_stats_store(target)))
    return Migrated(
        configs=configs,
        runs=len(sizes),
        iterations=sum(size[TRAINING] for size in sizes),
        validations=sum(size[VALIDATION] for size in sizes),
    )


def _copy_configs(source: Any, target: Any) -> int:
    assert isinstance(source, PlainConfigStore)
    assert isinstance(target, PlainConfigStore)
    copied = 0
    for collection in COLLECTIONS:
        if collection == "users":  # always empty
            continue
        kind = collection.removesuffix("s")
        for name in getattr(source, f"retrieve_{kind}_config_names")():
            config = getattr(source, f"retrieve_{kind}_config")(name)
            getattr(target, f"store_{kind}_config")(config)
            if getattr(target, f"retrieve_{kind}_config")(name) != config:
                raise DuplicateNameError(f"{kind} {name!r} was not read back as it was written")
            copied += 1
    return copied


def _copy_records(source: Any, target: Any) -> Iterator[dict[str, int]]:
    """Copy the records run by run, and yield the number of entries of each kind."""
    assert isinstance(source, RecordStatsStore)
    assert isinstance(target, RecordStatsStore)
    for name in source.run_names():
        yield {kind: _copy_record(source, target, kind, name) for kind in (TRAINING, VALIDATION)}


def _copy_record(source: RecordStatsStore, target: RecordStatsStore, kind: str, name: str) -> int:
    given, existing = source.entries(kind, name), target.entries(kind, name)
    if _encoded(existing) != _encoded(given[: len(existing)]):
        raise RecordError(
            f"the target has another record of run {name!r}, of {len(existing)} iterations, than the source, of "
            f"{len(given)}; delete one of them, or rename the run"
        )
    if len(given) > len(existing):
        target.store_entries(kind, name, given)
    if _encoded(target.entries(kind, name)) != _encoded(given):
        raise RecordError(f"the record of run {name!r} was not read back as it was written")
    return len(given)


def _encoded(entries: Iterable[Any]) -> list[bytes]:
    # As text, in which NaN equals NaN.
    return [encode(to_entry(entry)) for entry in entries]
