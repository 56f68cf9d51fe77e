"""Configs as YAML files, one per config: ``<path>/<collection>/<name>.yaml``."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

from dacapo.store.files import is_file, paths_in, remove_file, status, write_text
from dacapo.store.plain_config_store import COLLECTIONS, PlainConfigStore
from dacapo.store.plain_config_store import RESERVED_RUN_NAMES as RESERVED_RUN_NAMES
from dacapo.store.yaml_files import dump_yaml, read_yaml
from dacapo.utils.names import check_name


class FileConfigStore(PlainConfigStore):
    """Keeps each config in a YAML file that can be read, copied and compared by hand.

    Args:
        path: Folder of the store; it is created when something is stored.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        for name in COLLECTIONS:
            setattr(self, name, self.path / name)

    def run_config_state(self, run_name: str) -> Hashable:
        found = status(_file(self.runs, check_name(run_name, "run name")))
        if found is None:
            raise self._not_found(self.runs, run_name)
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _names(self, database: Path) -> list[str]:
        return [path.stem for path in paths_in(database) if path.suffix == ".yaml" and is_file(path)]

    def _read(self, database: Path, name: str) -> Any:
        path = _file(database, name)
        if not is_file(path):
            raise KeyError(name)
        return read_yaml(path)

    def _write(self, database: Path, name: str, plain: dict[str, Any]) -> bool:
        path = _file(database, name)
        if is_file(path):
            return False
        write_text(path, dump_yaml(plain))
        return True

    def _replace(self, database: Path, name: str, plain: dict[str, Any]) -> None:
        write_text(_file(database, name), dump_yaml(plain))

    def _remove(self, database: Path, name: str) -> bool:
        path = _file(database, name)
        if not is_file(path):
            return False
        remove_file(path)
        return True

    def _place(self, database: Path, name: str = "") -> str:
        return str(_file(database, name) if name else database)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.yaml"
