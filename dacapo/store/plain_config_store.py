"""The part of config stores that does not depend on where they keep configs: conversion, comparison, checks."""

from __future__ import annotations

import difflib
from abc import abstractmethod
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dacapo.errors import ConfigError, ConfigNotFoundError, DuplicateNameError
from dacapo.experiments.config import config_class
from dacapo.store.config_store import ConfigStore
from dacapo.store.converter import from_plain, to_plain
from dacapo.utils.names import check_name

if TYPE_CHECKING:
    from dacapo.experiments.architectures import ArchitectureConfig
    from dacapo.experiments.datasplits import DataSplitConfig
    from dacapo.experiments.datasplits.datasets import DatasetConfig
    from dacapo.experiments.datasplits.datasets.arrays import ArrayConfig
    from dacapo.experiments.run_config import RunConfig
    from dacapo.experiments.tasks import TaskConfig
    from dacapo.experiments.trainers import TrainerConfig

# The base class of the configs in a collection, by name, since it is defined in a layer above.
_BASES = {
    "runs": "RunConfig",
    "tasks": "TaskConfig",
    "datasplits": "DataSplitConfig",
    "datasets": "DatasetConfig",
    "arrays": "ArrayConfig",
    "architectures": "ArchitectureConfig",
    "trainers": "TrainerConfig",
}
COLLECTIONS = ("users", *_BASES)
"""Names of the collections. That of users is empty: the original has one."""

# Folders that lie beside those of the runs.
RESERVED_RUN_NAMES = ("configs", "stats")

_SHOWN = 10


class PlainConfigStore(ConfigStore):
    """A store that keeps configs as plain values in collections.

    A subclass has an attribute for each of :data:`COLLECTIONS` with a ``name``, and implements listing, reading,
    writing and removing entries of a collection. The names passed to these methods have been checked.
    """

    users: Any
    datasets: Any

    @abstractmethod
    def _names(self, database: Any) -> list[str]:
        """Return the names in a collection, in any order."""
        raise NotImplementedError

    @abstractmethod
    def _read(self, database: Any, name: str) -> Any:
        """Return the plain values stored under a name.

        Raises:
            KeyError: If nothing is stored under the name.
        """
        raise NotImplementedError

    @abstractmethod
    def _write(self, database: Any, name: str, plain: dict[str, Any]) -> bool:
        """Store plain values under a name if it is free, and return whether it was."""
        raise NotImplementedError

    def _replace(self, database: Any, name: str, plain: dict[str, Any]) -> None:
        """Store plain values in place of those under a name."""
        self._remove(database, name)
        self._write(database, name, plain)

    @abstractmethod
    def _remove(self, database: Any, name: str) -> bool:
        """Remove the entry under a name; return whether it existed."""
        raise NotImplementedError

    def _place(self, database: Any, name: str = "") -> str:
        """Return the location of a collection or of one of its entries, for messages."""
        return f"{database.name}/{name}" if name else str(database.name)

    def _contents(self, database: Any) -> Iterator[tuple[str, Any]]:
        """Yield the names and plain values of all entries of a collection."""
        for name in self._names(database):
            yield name, self._read(database, name)

    def _names_of_runs(self, wanted: Mapping[str, Collection[str]]) -> list[str]:
        """Return the names of the runs whose parts have one of the wanted names.

        Args:
            wanted: Wanted names, by field of the run config (``task_config``, ...).
        """
        runs = self._contents(self.runs)
        return [name for name, run in runs if all(_part(run, part) in names for part, names in wanted.items())]

    def store_run_config(self, run_config: RunConfig, ignore: Sequence[str] | None = None) -> None:
        if run_config.name in RESERVED_RUN_NAMES:
            raise ConfigError(f"a run cannot be named {run_config.name!r}, which is a folder of dacapo; rename the run")
        self._store(self.runs, run_config, ignore)

    def run_config_state(self, run_name: str) -> Hashable:
        return repr(self._content(self.runs, _checked(self.runs, run_name)))

    def replace_run_config(self, run_config: RunConfig) -> None:
        name, plain = self._plain(self.runs, run_config)
        self._content(self.runs, name)  # raises an error if none is there
        self._replace(self.runs, name, plain)

    def retrieve_run_config(self, run_name: str) -> RunConfig:
        config: RunConfig = self._retrieve(self.runs, run_name)
        return config

    def retrieve_run_config_names(
        self,
        task_names: Sequence[str] | None = None,
        datasplit_names: Sequence[str] | None = None,
        architecture_names: Sequence[str] | None = None,
        trainer_names: Sequence[str] | None = None,
    ) -> list[str]:
        given = {
            "task_config": task_names,
            "datasplit_config": datasplit_names,
            "architecture_config": architecture_names,
            "trainer_config": trainer_names,
        }
        wanted = {part: _several(part, names) for part, names in given.items() if names is not None}
        return sorted(self._names_of_runs(wanted) if wanted else self._names(self.runs))

    def store_task_config(self, task_config: TaskConfig, ignore: Sequence[str] | None = None) -> None:
        self._store(self.tasks, task_config, ignore)

    def retrieve_task_config(self, task_name: str) -> TaskConfig:
        config: TaskConfig = self._retrieve(self.tasks, task_name)
        return config

    def retrieve_task_config_names(self) -> list[str]:
        return sorted(self._names(self.tasks))

    def store_architecture_config(
        self, architecture_config: ArchitectureConfig, ignore: Sequence[str] | None = None
    ) -> None:
        self._store(self.architectures, architecture_config, ignore)

    def retrieve_architecture_config(self, architecture_name: str) -> ArchitectureConfig:
        config: ArchitectureConfig = self._retrieve(self.architectures, architecture_name)
        return config

    def retrieve_architecture_config_names(self) -> list[str]:
        return sorted(self._names(self.architectures))

    def store_trainer_config(self, trainer_config: TrainerConfig, ignore: Sequence[str] | None = None) -> None:
        self._store(self.trainers, trainer_config, ignore)

    def retrieve_trainer_config(self, trainer_name: str) -> TrainerConfig:
        config: TrainerConfig = self._retrieve(self.trainers, trainer_name)
        return config

    def retrieve_trainer_config_names(self) -> list[str]:
        return sorted(self._names(self.trainers))

    def store_datasplit_config(self, datasplit_config: DataSplitConfig, ignore: Sequence[str] | None = None) -> None:
        self._store(self.datasplits, datasplit_config, ignore)

    def retrieve_datasplit_config(self, datasplit_name: str) -> DataSplitConfig:
        config: DataSplitConfig = self._retrieve(self.datasplits, datasplit_name)
        return config

    def retrieve_datasplit_config_names(self) -> list[str]:
        return sorted(self._names(self.datasplits))

    def store_array_config(self, array_config: ArrayConfig, ignore: Sequence[str] | None = None) -> None:
        self._store(self.arrays, array_config, ignore)

    def retrieve_array_config(self, array_name: str) -> ArrayConfig:
        config: ArrayConfig = self._retrieve(self.arrays, array_name)
        return config

    def retrieve_array_config_names(self) -> list[str]:
        return sorted(self._names(self.arrays))

    def store_dataset_config(self, dataset_config: DatasetConfig, ignore: Sequence[str] | None = None) -> None:
        """Store a dataset."""
        self._store(self.datasets, dataset_config, ignore)

    def retrieve_dataset_config(self, dataset_name: str) -> DatasetConfig:
        """Return a dataset by its name."""
        config: DatasetConfig = self._retrieve(self.datasets, dataset_name)
        return config

    def retrieve_dataset_config_names(self) -> list[str]:
        """Return the names of all datasets, sorted."""
        return sorted(self._names(self.datasets))

    def delete_dataset_config(self, dataset_name: str) -> None:
        """Delete a dataset's config; its data stays."""
        self.delete_config(self.datasets, dataset_name)

    def delete_config(self, database: Any, config_name: str) -> None:
        if not self._remove(database, _checked(database, config_name)):
            raise self._not_found(database, config_name)

    def _store(self, database: Any, config: Any, ignore: Sequence[str] | None) -> None:
        name, plain = self._plain(database, config)
        if self._write(database, name, plain):
            return
        place = self._place(database, name)
        base = config_class(_BASES[database.name])
        stored = to_plain(from_plain(self._content(database, name), base, source=place))
        differing = list(_differences(stored, plain, set(ignore or ())))
        if differing:
            raise DuplicateNameError(
                f"{_singular(database)} {name!r} is already stored with different content ({place}): "
                f"{_listed(differing, '; ')}; choose another name, or delete the stored one first"
            )

    def _plain(self, database: Any, config: Any) -> tuple[str, dict[str, Any]]:
        """Return the name and the plain values to store a config as.

        Raises:
            ConfigError: If it is of another kind, or could not be read back.
        """
        base = config_class(_BASES[database.name])
        if not isinstance(config, base):
            raise ConfigError(f"expected a {base.__name__} to store under {database.name}, got {type(config).__name__}")
        name = _checked(database, getattr(config, "name", ""))
        plain = to_plain(config)
        from_plain(plain, base, source=f"{_singular(database)} {name!r}")
        return name, plain

    def _retrieve(self, database: Any, name: str) -> Any:
        content = self._content(database, _checked(database, name))
        place = self._place(database, name)
        config = from_plain(content, config_class(_BASES[database.name]), source=place)
        if getattr(config, "name", name) != name:
            raise ConfigError(f"{place} holds a config named {getattr(config, 'name', '')!r}; rename one of the two")
        return config

    def _content(self, database: Any, name: str) -> Any:
        try:
            return self._read(database, name)
        except KeyError:
            raise self._not_found(database, name) from None

    def _not_found(self, database: Any, name: str) -> ConfigNotFoundError:
        names = sorted(self._names(database))
        close = difflib.get_close_matches(name, names, n=3)
        if close:
            hint = f"did you mean {' or '.join(map(repr, close))}?"
        else:
            hint = f"stored are: {_listed(names, ', ')}" if names else "none is stored"
        return ConfigNotFoundError(f"no {_singular(database)} {name!r} in {self._place(database)}; {hint}")


def _several(part: str, names: Sequence[str]) -> list[str]:
    if isinstance(names, str):  # its letters would be taken for names
        raise ConfigError(f"expected a list of names to select runs by {part}, got {names!r}; write [{names!r}]")
    return list(names)


def _part(run: Any, part: str) -> Any:
    """Return the name of a part of a run in plain values, or None if it is unknown."""
    config = run.get(part) if isinstance(run, dict) else None
    return config.get("name") if isinstance(config, dict) else None


def _singular(database: Any) -> str:
    return str(database.name).removesuffix("s")


def _checked(database: Any, name: str) -> str:
    return check_name(name, f"name of a {_singular(database)}")


def _listed(entries: Sequence[str], separator: str) -> str:
    more = [f"and {len(entries) - _SHOWN} more"] if len(entries) > _SHOWN else []
    return separator.join([*entries[:_SHOWN], *more])


def _differences(stored: Any, given: Any, ignore: Iterable[str], path: str = "") -> Iterator[str]:
    """Yield one line per difference between two plain values, except below an ignored path."""
    if path in ignore:
        return
    if isinstance(stored, dict) and isinstance(given, dict):
        absent = object()
        for key in [*stored, *(key for key in given if key not in stored)]:
            below = f"{path}.{key}" if path else str(key)
            if key not in given and below not in ignore:
                yield f"{below} is only in the stored config"
            elif key not in stored and below not in ignore:
                yield f"{below} is only in the given config"
            else:
                yield from _differences(stored.get(key, absent), given.get(key, absent), ignore, below)
    elif isinstance(stored, list) and isinstance(given, list) and len(stored) == len(given):
        for index, (one, other) in enumerate(zip(stored, given, strict=True)):
            yield from _differences(one, other, ignore, f"{path}[{index}]")
    elif stored != given and not (stored != stored and given != given):  # NaN equals NaN here
        yield f"{path} is {stored!r}, not {given!r}"
