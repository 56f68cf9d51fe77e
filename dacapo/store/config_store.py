"""The interface of stores that keep configs by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from dacapo.errors import DuplicateNameError as DuplicateNameError

if TYPE_CHECKING:
    from dacapo.experiments.architectures import ArchitectureConfig
    from dacapo.experiments.datasplits import DataSplitConfig
    from dacapo.experiments.datasplits.datasets.arrays import ArrayConfig
    from dacapo.experiments.run_config import RunConfig
    from dacapo.experiments.tasks import TaskConfig
    from dacapo.experiments.trainers import TrainerConfig


class ConfigStore(ABC):
    """Keeps runs, tasks, architectures, trainers, datasplits and arrays, each by its name.

    A ``store_*`` method accepts the same config twice. Different content under a taken name raises a
    :class:`DuplicateNameError`, unless only fields listed in ``ignore`` differ; the stored config then stays.
    ``retrieve_*`` and ``delete_*`` raise :class:`~dacapo.errors.ConfigNotFoundError` for an unknown name, and
    ``retrieve_*_names`` return sorted names. :class:`~dacapo.store.plain_config_store.PlainConfigStore` implements all
    of this for a store of plain values. A run is stored complete with its parts; the parts do not become entries of
    their own.

    Attributes:
        runs, tasks, datasplits, arrays, architectures, trainers: The values of ``database`` for :meth:`delete_config`.
    """

    runs: Any
    tasks: Any
    datasplits: Any
    arrays: Any
    architectures: Any
    trainers: Any

    @abstractmethod
    def delete_config(self, database: Any, config_name: str) -> None:
        """Delete a config from one of the collections, for example ``store.runs``."""
        raise NotImplementedError

    @abstractmethod
    def store_run_config(self, run_config: RunConfig, ignore: Sequence[str] | None = None) -> None:
        """Store a run, complete with its parts."""
        raise NotImplementedError

    @abstractmethod
    def retrieve_run_config(self, run_name: str) -> RunConfig:
        """Return a run by its name."""
        raise NotImplementedError

    @abstractmethod
    def retrieve_run_config_names(
        self,
        task_names: Sequence[str] | None = None,
        datasplit_names: Sequence[str] | None = None,
        architecture_names: Sequence[str] | None = None,
        trainer_names: Sequence[str] | None = None,
    ) -> list[str]:
        """Return the sorted names of all runs, or of those whose parts have one of the given names."""
        raise NotImplementedError

    def run_config_state(self, run_name: str) -> Hashable:
        """Return a value that changes whenever the config of a run does."""
        return repr(self.retrieve_run_config(run_name))

    def replace_run_config(self, run_config: RunConfig) -> None:
        """Store a run in place of the one that has its name."""
        self.delete_run_config(run_config.name)
        self.store_run_config(run_config)

    def delete_run_config(self, run_name: str) -> None:
        """Delete the config of a run; its checkpoints, statistics and arrays stay."""
        self.delete_config(self.runs, run_name)

    @abstractmethod
    def store_task_config(self, task_config: TaskConfig, ignore: Sequence[str] | None = None) -> None:
        """Store a task."""
        raise NotImplementedError

    @abstractmethod
    def retrieve_task_config(self, task_name: str) -> TaskConfig:
        """Return a task by its name."""
        raise NotImplementedError

    @abstractmethod
    def retrieve_task_config_names(self) -> list[str]:
        """Return the names of all tasks, sorted."""
        raise NotImplementedError

    def delete_task_config(self, task_name: str) -> None:
        """Delete a task."""
        self.delete_config(self.tasks, task_name)

    @abstractmethod
    def store_architecture_config(
        self, architecture_config: ArchitectureConfig, ignore: Sequence[str] | None = None
    ) -> None:
        """Store an architecture."""
        raise NotImplementedError

    @abstractmethod
    def retrieve_architecture_config(self, architecture_name: str) -> ArchitectureConfig:
        """Return an architecture by its name."""
        raise NotImplementedError

    @abstractmethod
    def retrieve_architecture_config_names(self) -> list[str]:
        """Return the names of all architectures, sorted."""
        raise NotImplementedError

    def delete_architecture_config(self, architecture_name: str) -> None:
        """Delete an architecture."""
        self.delete_config(self.architectures, architecture_name)

    @abstractmethod
    def store_trainer_config(self, trainer_config: TrainerConfig, ignore: Sequence[str] | None = None) -> None:
        """Store a trainer."""
        raise NotImplementedError

    @abstractmethod
    def retrieve_trainer_config(self, trainer_name: str) -> TrainerConfig:
        """Return a trainer by its name."""
        raise NotImplementedError

    @abstractmethod
    def retrieve_trainer_config_names(self) -> list[str]:
        """Return the names of all trainers, sorted."""
        raise NotImplementedError

    def delete_trainer_config(self, trainer_name: str) -> None:
        """Delete a trainer."""
        self.delete_config(self.trainers, trainer_name)

    @abstractmethod
    def store_datasplit_config(self, datasplit_config: DataSplitConfig, ignore: Sequence[str] | None = None) -> None:
        """Store a datasplit."""
        raise NotImplementedError

    @abstractmethod
    def retrieve_datasplit_config(self, datasplit_name: str) -> DataSplitConfig:
        """Return a datasplit by its name."""
        raise NotImplementedError

    @abstractmethod
    def retrieve_datasplit_config_names(self) -> list[str]:
        """Return the names of all datasplits, sorted."""
        raise NotImplementedError

    def delete_datasplit_config(self, datasplit_name: str) -> None:
        """Delete a datasplit."""
        self.delete_config(self.datasplits, datasplit_name)

    @abstractmethod
    def store_array_config(self, array_config: ArrayConfig, ignore: Sequence[str] | None = None) -> None:
        """Store an array."""
        raise NotImplementedError

    @abstractmethod
    def retrieve_array_config(self, array_name: str) -> ArrayConfig:
        """Return an array by its name."""
        raise NotImplementedError

    @abstractmethod
    def retrieve_array_config_names(self) -> list[str]:
        """Return the names of all arrays, sorted."""
        raise NotImplementedError

    def delete_array_config(self, array_name: str) -> None:
        """Delete an array's config; its data stays."""
        self.delete_config(self.arrays, array_name)
