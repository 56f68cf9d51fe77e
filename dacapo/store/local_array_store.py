"""Arrays of runs in Zarr containers below one folder."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from dacapo.errors import ArrayNotFoundError, ConfigError, StorageError
from dacapo.store.array_store import ArrayStore, LocalArrayIdentifier, LocalContainerIdentifier
from dacapo.store.run_folder import SNAPSHOTS, VALIDATION
from dacapo.utils.names import check_name


class LocalArrayStore(ArrayStore):
    """Keeps the results of validation in ``<basedir>/<run>/validation.zarr``, and snapshots in ``snapshot.zarr``.

    Names of runs, datasets and criteria become folders; a name with a path separator raises a
    :class:`~dacapo.errors.ConfigError`.

    Args:
        basedir: Folder that holds one folder per run.
    """

    def __init__(self, basedir: Path | str) -> None:
        self.basedir = Path(basedir)

    def best_validation_array(self, run_name: str, criterion: str, index: str | None = None) -> LocalArrayIdentifier:
        dataset = _inside("criterion", criterion)
        if index is not None:
            dataset = f"{_inside('dataset name', index)}/{dataset}"
        return self.validation_container(run_name).array_identifier(dataset)

    def validation_prediction_array(self, run_name: str, iteration: int, dataset: str) -> LocalArrayIdentifier:
        name = f"{iteration}/{_inside('dataset name', dataset)}/prediction"
        return self.validation_container(run_name).array_identifier(name)

    def validation_output_array(
        self, run_name: str, iteration: int, parameters: Any, dataset: str
    ) -> LocalArrayIdentifier:
        name = f"{iteration}/{_inside('dataset name', dataset)}/output/{_inside('parameters', parameters)}"
        return self.validation_container(run_name).array_identifier(name)

    def validation_input_arrays(
        self, run_name: str, index: str | None = None
    ) -> tuple[LocalArrayIdentifier, LocalArrayIdentifier]:
        container = self.validation_container(run_name)
        group = "inputs" if index is None else f"inputs/{_inside('dataset name', index)}"
        return container.array_identifier(f"{group}/raw"), container.array_identifier(f"{group}/gt")

    def snapshot_container(self, run_name: str) -> LocalContainerIdentifier:
        return LocalContainerIdentifier(self._run_folder(run_name) / SNAPSHOTS)

    def validation_container(self, run_name: str) -> LocalContainerIdentifier:
        return LocalContainerIdentifier(self._run_folder(run_name) / VALIDATION)

    def remove(self, array_identifier: LocalArrayIdentifier) -> None:
        self._check_container(array_identifier.container)
        path = _path_inside(array_identifier)
        if not path.is_dir() and not path.is_symlink():
            raise ArrayNotFoundError(
                f"cannot remove dataset {array_identifier.dataset!r}: {array_identifier.container} does not hold it"
            )
        try:
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path)
        except OSError as error:
            raise StorageError(f"cannot remove {path}: {error}") from error

    def _check_container(self, container: Path) -> None:
        """Check that a container lies in the folder of a run.

        The base folder and those of runs may be links to another disk, but nothing inside them.

        Raises:
            ConfigError: If it does not.
        """
        bases = (self.basedir, self.basedir.absolute(), self.basedir.resolve())
        above = container.parent.parent.resolve()
        paths = (container, container.absolute(), above.joinpath(*container.parts[-2:]))
        inside = [path.relative_to(base) for path in paths for base in bases if path.is_relative_to(base)]
        parts = inside[0].parts if inside else ()
        if len(parts) < 2 or ".." in parts:
            raise ConfigError(
                f"{container} is not in the folder of a run in {self.basedir}, so nothing is removed from it"
            )
        expected = (self.basedir / parts[0]).resolve().joinpath(*parts[1:])
        if container.resolve() != expected:
            raise ConfigError(
                f"{container} is a link to {container.resolve()}, so nothing is removed from it; move it here, or make "
                f"{self.basedir / parts[0]} the link"
            )

    def _run_folder(self, run_name: str) -> Path:
        return self.basedir / check_name(run_name, "run name")


def _inside(what: str, part: Any) -> str:
    """Return one part of a dataset's path, checked not to lead to another dataset or out of the container."""
    return check_name(str(part), what)


def _path_inside(identifier: LocalArrayIdentifier) -> Path:
    """Return the folder of a dataset, checked to lie in its container even if parent folders are links."""
    dataset = PurePosixPath(identifier.dataset)
    if not dataset.parts or dataset.is_absolute() or ".." in dataset.parts:
        raise ConfigError(
            f"{identifier.dataset!r} does not name a dataset inside {identifier.container}; "
            "give its path in the container, such as 'volumes/raw'"
        )
    path = identifier.container / dataset
    container = identifier.container.resolve()
    if not path.parent.resolve().is_relative_to(container):
        raise ConfigError(f"{path} leads out of the container {identifier.container}, so it is not removed")
    return path
