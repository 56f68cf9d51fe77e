"""The interface that names the containers and datasets of a run; it holds no data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import attrs

from dacapo.utils.paths import user_path


@attrs.frozen
class LocalArrayIdentifier:
    """One array on a local file system.

    Attributes:
        container: Folder of the Zarr or N5 container.
        dataset: Path of the array inside the container, separated by ``/``.
    """

    container: Path = attrs.field(converter=user_path)
    dataset: str = attrs.field()


@attrs.frozen
class LocalContainerIdentifier:
    """One container (a Zarr or N5 folder) on a local file system.

    Attributes:
        container: Folder of the container.
    """

    container: Path = attrs.field(converter=user_path)

    def array_identifier(self, dataset: str) -> LocalArrayIdentifier:
        """Return the identifier of a dataset in this container."""
        return LocalArrayIdentifier(self.container, dataset)


class ArrayStore(ABC):
    """Names the arrays that belong to a run.

    ``dataset`` and ``index`` are names of validation datasets; ``parameters`` are those of a post-processor, whose
    string is part of the name.
    """

    @abstractmethod
    def validation_prediction_array(self, run_name: str, iteration: int, dataset: str) -> LocalArrayIdentifier:
        """Return the identifier of the network's output on a validation dataset."""
        raise NotImplementedError

    @abstractmethod
    def validation_output_array(
        self, run_name: str, iteration: int, parameters: Any, dataset: str
    ) -> LocalArrayIdentifier:
        """Return the identifier of the post-processed prediction of a validation dataset."""
        raise NotImplementedError

    @abstractmethod
    def best_validation_array(self, run_name: str, criterion: str, index: str | None = None) -> LocalArrayIdentifier:
        """Return the identifier of the best output by a criterion, for one validation dataset if ``index`` names it."""
        raise NotImplementedError

    @abstractmethod
    def validation_input_arrays(
        self, run_name: str, index: str | None = None
    ) -> tuple[LocalArrayIdentifier, LocalArrayIdentifier]:
        """Return the identifiers of the copies of a validation dataset's raw data and ground truth."""
        raise NotImplementedError

    @abstractmethod
    def remove(self, array_identifier: LocalArrayIdentifier) -> None:
        """Delete an array and everything below it, and nothing outside its container.

        Raises:
            ArrayNotFoundError: If it does not exist.
            ConfigError: If the name of the dataset is empty or leads out of the container.
            StorageError: If it cannot be deleted.
        """
        raise NotImplementedError

    @abstractmethod
    def snapshot_container(self, run_name: str) -> LocalContainerIdentifier:
        """Return the container of the batches saved during training."""
        raise NotImplementedError

    @abstractmethod
    def validation_container(self, run_name: str) -> LocalContainerIdentifier:
        """Return the container of everything that validation writes."""
        raise NotImplementedError
