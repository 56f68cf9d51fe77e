"""Create the stores that the options select.

With ``type: files`` everything is below ``runs_base_dir``: configs in ``configs``, statistics and scores in ``stats``,
and the checkpoints and arrays of a run in a folder named after the run. With ``type: mongo`` configs, statistics and
scores are in the database ``mongo_db_name`` of the server ``mongo_db_host``, the rest as before.

Each function takes settings to use instead of those of the process. It raises a :class:`~dacapo.errors.ConfigError` if
they name an unknown kind of store, or lack the server or database for MongoDB, and a
:class:`~dacapo.errors.MissingDependencyError` if they select MongoDB and pymongo is not installed. It imports its store
itself, because some stores load PyTorch, cattrs or yaml, which others do not need.
"""

from __future__ import annotations

from dacapo.errors import ConfigError
from dacapo.options import DaCapoConfig, Options
from dacapo.store.array_store import ArrayStore
from dacapo.store.config_store import ConfigStore
from dacapo.store.stats_store import StatsStore
from dacapo.store.weights_store import WeightsStore


def create_config_store(options: DaCapoConfig | None = None) -> ConfigStore:
    """Return the store of configs."""
    options = options or Options.instance()
    if _in_mongo(options):
        from dacapo.store.mongo_config_store import MongoConfigStore

        return MongoConfigStore(*_mongo_database(options))
    from dacapo.store.file_config_store import FileConfigStore

    return FileConfigStore(options.runs_base_dir / "configs")


def create_stats_store(options: DaCapoConfig | None = None) -> StatsStore:
    """Return the store of training statistics and validation scores."""
    options = options or Options.instance()
    if _in_mongo(options):
        from dacapo.store.mongo_stats_store import MongoStatsStore

        return MongoStatsStore(*_mongo_database(options))
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


def _in_mongo(options: DaCapoConfig) -> bool:
    if options.type not in ("files", "mongo"):
        raise ConfigError(f"unknown type of store {options.type!r} in the options; known are 'files' and 'mongo'")
    return options.type == "mongo"


def _mongo_database(options: DaCapoConfig) -> tuple[str, str]:
    from dacapo.store.mongo import without_secrets

    host, name = options.mongo_db_host, options.mongo_db_name
    if not host or not name:
        raise ConfigError(
            "stores of type 'mongo' need the options mongo_db_host and mongo_db_name, "
            f"got {host and without_secrets(host)!r} and {name!r}; set both, or 'type: files'"
        )
    return host, name
