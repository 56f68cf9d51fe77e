"""Configs as YAML files, one per config: ``<path>/<collection>/<name>.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dacapo.store.files import remove_file, write_text
from dacapo.store.plain_config_store import RESERVED_RUN_NAMES as RESERVED_RUN_NAMES
from dacapo.store.plain_config_store import PlainConfigStore
from dacapo.store.yaml_files import dump_yaml, read_yaml


class FileConfigStore(PlainConfigStore):
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

    def _names(self, database: Path) -> list[str]:
        return [path.stem for path in database.glob("*.yaml") if path.is_file()]

    def _read(self, database: Path, name: str) -> Any:
        path = _file(database, name)
        if not path.is_file():
            raise KeyError(name)
        return read_yaml(path)

    def _write(self, database: Path, name: str, plain: dict[str, Any]) -> bool:
        path = _file(database, name)
        if path.is_file():
            return False
        write_text(path, dump_yaml(plain))
        return True

    def _remove(self, database: Path, name: str) -> bool:
        path = _file(database, name)
        if not path.is_file():
            return False
        remove_file(path)
        return True

    def _place(self, database: Path, name: str = "") -> str:
        return str(_file(database, name) if name else database)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.yaml"
