"""Configs as YAML files, one per config: ``<path>/<collection>/<name>.yaml``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dacapo.errors import ConfigError, DuplicateNameError, NotFoundError
from dacapo.experiments.config import Config, config_class
from dacapo.store.config_store import ConfigStore
from dacapo.store.converter import from_plain, to_plain
from dacapo.store.files import remove_file, write_text
from dacapo.store.yaml_files import dump_yaml, read_yaml
from dacapo.utils.names import check_name

if TYPE_CHECKING:
    from dacapo.experiments.architectures import ArchitectureConfig
    from dacapo.experiments.datasplits import DataSplitConfig
    from dacapo.experiments.datasplits.datasets import DatasetConfig
    from dacapo.experiments.datasplits.datasets.arrays import ArrayConfig
    from dacapo.experiments.run_config import RunConfig
    from dacapo.experiments.tasks import TaskConfig
    from dacapo.experiments.trainers import TrainerConfig

# The class that configs of a folder derive from. By name, since they are defined in layers above.
_BASES = {
    "runs": "RunConfig",
    "tasks": "TaskConfig",
    "datasplits": "DataSplitConfig",
    "datasets": "DatasetConfig",
    "arrays": "ArrayConfig",
    "architectures": "ArchitectureConfig",
    "trainers": "TrainerConfig",
}

# Folders that lie beside those of the runs.
RESERVED_RUN_NAMES = ("configs", "stats")

_SHOWN = 10


class FileConfigStore(ConfigStore):
    """Keeps each config in a YAML file that can be read, copied and compared by hand.

    Args:
        path: Folder of the store; it is created when something is stored.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @property
    def users(self) -> Path:
        """Folder of users."""
        return self.path / "users"

    @property
    def runs(self) -> Path:
        """Folder of runs."""
        return self.path / "runs"

    @property
    def tasks(self) -> Path:
        """Folder of tasks."""
        return self.path / "tasks"

    @property
    def datasplits(self) -> Path:
        """Folder of datasplits."""
        return self.path / "datasplits"

    @property
    def arrays(self) -> Path:
        """Folder of arrays."""
        return self.path / "arrays"

    @property
    def architectures(self) -> Path:
        """Folder of architectures."""
        return self.path / "architectures"

    @property
    def trainers(self) -> Path:
        """Folder of trainers."""
        return self.path / "trainers"

    @property
    def datasets(self) -> Path:
        """Folder of datasets."""
        return self.path / "datasets"

    def store_run_config(self, run_config: RunConfig, ignore: Sequence[str] | None = None) -> None:
        """Store a run, complete with its parts."""
        if run_config.name in RESERVED_RUN_NAMES:
            raise ConfigError(f"a run cannot be named {run_config.name!r}, a folder that dacapo uses; rename the run")
        self._store(self.runs, run_config, ignore)

    def retrieve_run_config(self, run_name: str) -> RunConfig:
        """Return a run by its name."""
        config: RunConfig = self._retrieve(self.runs, run_name)
        return config

    def retrieve_run_config_names(self) -> list[str]:
        """Return the names of all runs, sorted."""
        return _names(self.runs)

    def store_task_config(self, task_config: TaskConfig, ignore: Sequence[str] | None = None) -> None:
        """Store a task."""
        self._store(self.tasks, task_config, ignore)

    def retrieve_task_config(self, task_name: str) -> TaskConfig:
        """Return a task by its name."""
        config: TaskConfig = self._retrieve(self.tasks, task_name)
        return config

    def retrieve_task_config_names(self) -> list[str]:
        """Return the names of all tasks, sorted."""
        return _names(self.tasks)

    def store_architecture_config(
        self, architecture_config: ArchitectureConfig, ignore: Sequence[str] | None = None
    ) -> None:
        """Store an architecture."""
        self._store(self.architectures, architecture_config, ignore)

    def retrieve_architecture_config(self, architecture_name: str) -> ArchitectureConfig:
        """Return an architecture by its name."""
        config: ArchitectureConfig = self._retrieve(self.architectures, architecture_name)
        return config

    def retrieve_architecture_config_names(self) -> list[str]:
        """Return the names of all architectures, sorted."""
        return _names(self.architectures)

    def store_trainer_config(self, trainer_config: TrainerConfig, ignore: Sequence[str] | None = None) -> None:
        """Store a trainer."""
        self._store(self.trainers, trainer_config, ignore)

    def retrieve_trainer_config(self, trainer_name: str) -> TrainerConfig:
        """Return a trainer by its name."""
        config: TrainerConfig = self._retrieve(self.trainers, trainer_name)
        return config

    def retrieve_trainer_config_names(self) -> list[str]:
        """Return the names of all trainers, sorted."""
        return _names(self.trainers)

    def store_datasplit_config(self, datasplit_config: DataSplitConfig, ignore: Sequence[str] | None = None) -> None:
        """Store a datasplit."""
        self._store(self.datasplits, datasplit_config, ignore)

    def retrieve_datasplit_config(self, datasplit_name: str) -> DataSplitConfig:
        """Return a datasplit by its name."""
        config: DataSplitConfig = self._retrieve(self.datasplits, datasplit_name)
        return config

    def retrieve_datasplit_config_names(self) -> list[str]:
        """Return the names of all datasplits, sorted."""
        return _names(self.datasplits)

    def store_array_config(self, array_config: ArrayConfig, ignore: Sequence[str] | None = None) -> None:
        """Store an array."""
        self._store(self.arrays, array_config, ignore)

    def retrieve_array_config(self, array_name: str) -> ArrayConfig:
        """Return an array by its name."""
        config: ArrayConfig = self._retrieve(self.arrays, array_name)
        return config

    def retrieve_array_config_names(self) -> list[str]:
        """Return the names of all arrays, sorted."""
        return _names(self.arrays)

    def store_dataset_config(self, dataset_config: DatasetConfig, ignore: Sequence[str] | None = None) -> None:
        """Store a dataset."""
        self._store(self.datasets, dataset_config, ignore)

    def retrieve_dataset_config(self, dataset_name: str) -> DatasetConfig:
        """Return a dataset by its name."""
        config: DatasetConfig = self._retrieve(self.datasets, dataset_name)
        return config

    def retrieve_dataset_config_names(self) -> list[str]:
        """Return the names of all datasets, sorted."""
        return _names(self.datasets)

    def delete_dataset_config(self, dataset_name: str) -> None:
        """Delete a dataset's config; its data stays."""
        self.delete_config(self.datasets, dataset_name)

    def delete_config(self, database: Path, config_name: str) -> None:
        """Delete a config from one of the folders, for example ``store.runs``.

        Raises:
            NotFoundError: If there is none of that name.
        """
        remove_file(_existing(database, config_name))

    def _store(self, folder: Path, config: Any, ignore: Sequence[str] | None) -> None:
        base = config_class(_BASES[folder.name])
        if not isinstance(config, base):
            raise ConfigError(f"expected a {base.__name__} to store under {folder.name}, got {type(config).__name__}")
        name = getattr(config, "name", "")
        path = _file(folder, name)
        plain = to_plain(config)
        from_plain(plain, base, source=f"{_singular(folder)} {name!r}")  # what cannot be read back is not written
        if not path.is_file():
            write_text(path, dump_yaml(plain))
            return
        stored = to_plain(_read(path, base))
        differing = list(_differences(stored, plain, set(ignore or ())))
        if differing:
            raise DuplicateNameError(
                f"{_singular(folder)} {name!r} is stored already with another content ({path}): "
                f"{_listed(differing, '; ')}; choose another name, or delete the stored one first"
            )

    def _retrieve(self, folder: Path, name: str) -> Any:
        path = _existing(folder, name)
        config = _read(path, config_class(_BASES[folder.name]))
        if getattr(config, "name", name) != name:
            raise ConfigError(f"{path} holds a config named {getattr(config, 'name', '')!r}; rename one of the two")
        return config


def _singular(folder: Path) -> str:
    return folder.name.removesuffix("s")


def _file(folder: Path, name: str) -> Path:
    return folder / f"{check_name(name, f'name of a {_singular(folder)}')}.yaml"


def _existing(folder: Path, name: str) -> Path:
    """Return the file of a stored config."""
    path = _file(folder, name)
    if not path.is_file():
        names = _names(folder)
        close = difflib.get_close_matches(name, names, n=3)
        if close:
            hint = f"did you mean {' or '.join(map(repr, close))}?"
        else:
            hint = f"stored are: {_listed(names, ', ')}" if names else "none is stored there"
        raise NotFoundError(f"there is no {_singular(folder)} {name!r} in {folder}; {hint}")
    return path


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml") if path.is_file())


def _read(path: Path, base: type[Config]) -> Config:
    return from_plain(read_yaml(path), base, source=str(path))


def _listed(entries: Sequence[str], separator: str) -> str:
    more = [f"and {len(entries) - _SHOWN} more"] if len(entries) > _SHOWN else []
    return separator.join([*entries[:_SHOWN], *more])


def _differences(stored: Any, given: Any, ignore: Iterable[str], path: str = "") -> Iterator[str]:
    """Yield a line for each place where two plain values differ, except below an ignored path."""
    if path in ignore:
        return
    if isinstance(stored, dict) and isinstance(given, dict):
        absent = object()
        for key in [*stored, *(key for key in given if key not in stored)]:
            below = f"{path}.{key}" if path else str(key)
            if key not in given and below not in ignore:
                yield f"{below} is stored only"
            elif key not in stored and below not in ignore:
                yield f"{below} is given only"
            else:
                yield from _differences(stored.get(key, absent), given.get(key, absent), ignore, below)
    elif isinstance(stored, list) and isinstance(given, list) and len(stored) == len(given):
        for index, (one, other) in enumerate(zip(stored, given, strict=True)):
            yield from _differences(one, other, ignore, f"{path}[{index}]")
    elif stored != given and not (stored != stored and given != given):  # NaN equals NaN here
        yield f"{path} is {stored!r}, not {given!r}"
