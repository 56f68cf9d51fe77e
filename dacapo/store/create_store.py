"""Create the stores that the options select.

With ``type: files`` everything is below ``runs_base_dir``: configs in ``configs``, statistics and scores in ``stats``,
and the checkpoints and arrays of a run in a folder named after the run. With ``type: sql`` or ``type: mongo`` configs,
statistics and scores are in a database, the rest as before.

Each function takes settings to use instead of those of the process. It raises a :class:`~dacapo.errors.ConfigError` if
they name an unknown kind of store, or no usable database, and a :class:`~dacapo.errors.MissingDependencyError` if the
packages for the database are not installed. It imports its store itself, because some stores load PyTorch, cattrs or
yaml, which others do not need.
"""

from __future__ import annotations

import os
from pathlib import Path

from dacapo.errors import ConfigError
from dacapo.options import DaCapoConfig, Options
from dacapo.store.array_store import ArrayStore
from dacapo.store.config_store import ConfigStore
from dacapo.store.stats_store import StatsStore
from dacapo.store.weights_store import WeightsStore
from dacapo.utils.addresses import without_secrets

TYPES = ("files", "sql", "mongo")
SQL_URL_VARIABLE = "DACAPO_SQL_URL"


def create_config_store(options: DaCapoConfig | None = None) -> ConfigStore:
    """Return the store of configs."""
    options = options or Options.instance()
    kind = _kind(options)
    if kind == "mongo":
        from dacapo.store.mongo_config_store import MongoConfigStore

        return MongoConfigStore(*_mongo_database(options))
    if kind == "sql":
        from dacapo.store.sql_config_store import SqlConfigStore

        return SqlConfigStore(_sql_url(options))
    from dacapo.store.file_config_store import FileConfigStore

    return FileConfigStore(options.runs_base_dir / "configs")


def create_stats_store(options: DaCapoConfig | None = None) -> StatsStore:
    """Return the store of training statistics and validation scores."""
    options = options or Options.instance()
    kind = _kind(options)
    if kind == "mongo":
        from dacapo.store.mongo_stats_store import MongoStatsStore

        return MongoStatsStore(*_mongo_database(options))
    if kind == "sql":
        from dacapo.store.sql_stats_store import SqlStatsStore

        return SqlStatsStore(_sql_url(options))
    from dacapo.store.file_stats_store import FileStatsStore

    return FileStatsStore(options.runs_base_dir / "stats")


def create_weights_store(options: DaCapoConfig | None = None) -> WeightsStore:
    """Return the store of checkpoints, which are always files."""
    from dacapo.store.local_weights_store import LocalWeightsStore

    return LocalWeightsStore((options or Options.instance()).runs_base_dir)


def create_array_store(options: DaCapoConfig | None = None) -> ArrayStore:
    """Return the store of arrays, which are always files."""
    from dacapo.store.local_array_store import LocalArrayStore

    return LocalArrayStore((options or Options.instance()).runs_base_dir)


def _kind(options: DaCapoConfig) -> str:
    if options.type not in TYPES:
        raise ConfigError(f"unknown type of store {options.type!r} in the options; known are {', '.join(TYPES)}")
    return options.type


def _mongo_database(options: DaCapoConfig) -> tuple[str, str]:
    host, name = options.mongo_db_host, options.mongo_db_name
    if not host or not name:
        raise ConfigError(
            "stores of type 'mongo' need the options mongo_db_host and mongo_db_name, "
            f"got {host and without_secrets(host)!r} and {name!r}; set both, or 'type: files'"
        )
    return host, name


def _sql_url(options: DaCapoConfig) -> str:
    """Return the address of the database, from the first of its sources that is set."""
    if options.sql_url and options.sql_url_file:
        raise ConfigError("the options sql_url and sql_url_file both name a database; remove one of them")
    if options.sql_url_file:
        return _content(Path(options.sql_url_file).expanduser())
    in_base_dir = f"sqlite:///{options.runs_base_dir.absolute() / 'dacapo.db'}"
    return options.sql_url or os.environ.get(SQL_URL_VARIABLE) or in_base_dir


def _content(file: Path) -> str:
    try:
        url = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the address of the database from {file}: {error}") from error
    if not url:
        raise ConfigError(f"{file} is empty; write the address of the database into it, such as postgresql://host/db")
    return url
