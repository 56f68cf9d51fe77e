"""Training statistics and validation scores in files, one of each per run.

The files are ``<path>/training_stats/<run>`` and ``<path>/validation_scores/<run>``, with one JSON object per iteration
and line. Files of the original are pickles; they are read if they hold nothing but plain containers and numbers, and
the next save converts them.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dacapo.errors import DamagedFileError, UnsafeFileError
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.store.files import is_file, paths_in, read_bytes, remove_file, status, storage_error, write_bytes
from dacapo.store.json_lines import (
    Entry,
    Mark,
    columns_of,
    encode,
    entries_of,
    read_appended,
    read_columns,
    read_entries,
    read_last,
    update_entries,
)
from dacapo.store.record_stats_store import (
    TRAINING,
    VALIDATION,
    Choice,
    RecordStatsStore,
    T,
    from_columns,
    from_entries,
    to_entry,
)
from dacapo.store.stats_store import NewLosses
from dacapo.utils.names import check_name

# Every pickle of protocol 2 and later begins with this byte, which JSON never does.
_PICKLE_MARK = b"\x80"


class FileStatsStore(RecordStatsStore):
    """Keeps the record of each run in two append-only files.

    Args:
        path: Folder of the store; it is created when something is stored.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def _update(self, kind: str, run_name: str, items: Sequence[T]) -> None:
        path = self.path / kind / run_name
        if is_file(path) and _is_pickle(path):
            write_bytes(path, b"".join(encode(entry) + b"\n" for entry in _read_pickle(path)))
        update_entries(path, items, to_entry)

    def _read(self, kind: str, run_name: str, cls: type[T], choice: Choice) -> list[T]:
        path = self.path / kind / run_name
        if not is_file(path):
            return []
        pickled = _is_pickle(path)
        columns = None if pickled else read_columns(path)
        if columns is not None and (fast := from_columns(columns, cls, choice)) is not None:
            return fast
        plain = _read_pickle(path) if pickled else read_entries(path)
        entries = from_entries(plain, cls, path)
        if choice.all:
            return entries
        chosen = set(choice.of(entry.iteration for entry in entries))
        return [entry for entry in entries if entry.iteration in chosen]

    def last_training_stats(self, run_name: str) -> TrainingIterationStats | None:
        path = self._file(TRAINING, run_name)
        if not is_file(path) or _is_pickle(path):
            return super().last_training_stats(run_name)
        entry = read_last(path)
        return None if entry is None else from_entries([entry], TrainingIterationStats, path)[0]

    def losses_since(self, run_name: str, mark: Any = None) -> NewLosses:
        path = self._file(TRAINING, run_name)
        if not is_file(path) or _is_pickle(path):
            return super().losses_since(run_name)
        lines, mark, anew = read_appended(path, mark or Mark())
        columns = columns_of(lines) if lines else {"iteration": [], "loss": []}
        if columns is not None and {"iteration", "loss"} <= set(columns):
            return NewLosses(columns["iteration"], columns["loss"], mark, anew)
        stats = from_entries(entries_of(lines, path), TrainingIterationStats, path)
        return NewLosses([one.iteration for one in stats], [one.loss for one in stats], mark, anew)

    def state(self, run_name: str) -> Hashable:
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns) if one else None for one in self._statuses(run_name))

    def changed(self, run_name: str) -> float | None:
        return max((one.st_mtime for one in self._statuses(run_name) if one), default=None)

    def _statuses(self, run_name: str) -> list[os.stat_result | None]:
        return [status(self._file(kind, run_name)) for kind in (TRAINING, VALIDATION)]

    def _file(self, kind: str, run_name: str) -> Path:
        return self.path / kind / check_name(run_name, "run name")

    def _delete(self, kind: str, run_name: str) -> None:
        remove_file(self.path / kind / run_name, missing_ok=True)

    def _run_names(self, kind: str) -> list[str]:
        return [path.name for path in paths_in(self.path / kind) if is_file(path)]


def _is_pickle(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(1) == _PICKLE_MARK
    except OSError as error:
        raise storage_error("read", path, error) from error


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, dicts, strings and numbers, and refuses to look up any class or function."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise UnsafeFileError(f"it refers to {module}.{name}, and loading that could run code")


def _read_pickle(path: Path) -> list[Entry]:
    content = read_bytes(path)
    try:
        entries: Any = _PlainUnpickler(io.BytesIO(content)).load()
    except UnsafeFileError as error:
        raise UnsafeFileError(f"refused to read {path}: {error}") from None
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{path} is a damaged pickle: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DamagedFileError(f"{path} does not hold a list of entries")
    return entries
