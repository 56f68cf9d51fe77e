"""Build the stores that the options ask for.

With ``type: files`` everything lies below ``runs_base_dir``: configs in ``configs``, statistics and scores in
``stats``, and the checkpoints and arrays of a run in a folder of the run's name.
"""

from __future__ import annotations

from dacapo.errors import ConfigError, MissingDependencyError
from dacapo.options import DaCapoConfig, Options
from dacapo.store.array_store import ArrayStore
from dacapo.store.config_store import ConfigStore
from dacapo.store.file_config_store import FileConfigStore
from dacapo.store.file_stats_store import FileStatsStore
from dacapo.store.local_array_store import LocalArrayStore
from dacapo.store.stats_store import StatsStore
from dacapo.store.weights_store import WeightsStore


def create_config_store(options: DaCapoConfig | None = None) -> ConfigStore:
    """Return the store of configs.

    Args:
        options: Settings to use instead of those of the process.

    Raises:
        ConfigError: If the options name an unknown kind of store.
        MissingDependencyError: If they ask for MongoDB.
    """
    return FileConfigStore(_files_only(options).runs_base_dir / "configs")


def create_stats_store(options: DaCapoConfig | None = None) -> StatsStore:
    """Return the store of training statistics and validation scores.

    Args:
        options: Settings to use instead of those of the process.

    Raises:
        ConfigError: If the options name an unknown kind of store.
        MissingDependencyError: If they ask for MongoDB.
    """
    return FileStatsStore(_files_only(options).runs_base_dir / "stats")


def create_weights_store(options: DaCapoConfig | None = None) -> WeightsStore:
    """Return the store of checkpoints, which are files whatever the kind of the other stores.

    Args:
        options: Settings to use instead of those of the process.
    """
    # Imported here because it loads torch, which reading configs and scores does without.
    from dacapo.store.local_weights_store import LocalWeightsStore

    return LocalWeightsStore((options or Options.instance()).runs_base_dir)


def create_array_store(options: DaCapoConfig | None = None) -> ArrayStore:
    """Return the store of arrays, which are files whatever the kind of the other stores.

    Args:
        options: Settings to use instead of those of the process.
    """
    return LocalArrayStore((options or Options.instance()).runs_base_dir)


def _files_only(options: DaCapoConfig | None) -> DaCapoConfig:
    options = options or Options.instance()
    if options.type == "mongo":
        raise MissingDependencyError(
            "stores in MongoDB are not part of this version; set 'type: files' in the options file"
        )
    if options.type != "files":
        raise ConfigError(f"unknown type of store {options.type!r} in the options; known is 'files'")
    return options
