"""Training statistics and validation scores in files, one of each per run.

They are ``<path>/training_stats/<run>`` and ``<path>/validation_scores/<run>``, with one JSON object per line and
iteration. Files of the original, which are pickles, are read as long as they hold nothing but plain containers and
numbers; the next save turns them into lines.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import attrs

from dacapo.errors import StorageError, UnsafeFileError
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.store.files import read_bytes, remove_file, write_bytes
from dacapo.store.json_lines import Record, encode, read_records, update_records
from dacapo.store.stats_store import StatsStore
from dacapo.utils.names import check_name

if TYPE_CHECKING:
    from dacapo.experiments.validation_scores import ValidationScores

# Every pickle of protocol 2 and later begins with this byte, which no JSON does.
_PICKLE_MARK = b"\x80"

T = TypeVar("T", TrainingIterationStats, ValidationIterationScores)


class FileStatsStore(StatsStore):
    """Keeps the record of each run in two files that only grow.

    Args:
        path: Folder of the store; it is created when something is stored.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def store_training_stats(self, run_name: str, stats: TrainingStats) -> None:
        """Store the statistics of a run; only those that are new are written.

        Raises:
            StorageError: If the file cannot be read or written.
        """
        _update(self._training(run_name), stats.iteration_stats)

    def retrieve_training_stats(self, run_name: str) -> TrainingStats:
        """Return the statistics of a run, empty when nothing is stored.

        Raises:
            StorageError: If the file cannot be read.
            UnsafeFileError: If it is a pickle that would run code.
        """
        return TrainingStats(_read(self._training(run_name), TrainingIterationStats))

    def store_validation_iteration_scores(self, run_name: str, scores: ValidationScores) -> None:
        """Store the validation scores of a run; only those that are new are written.

        Raises:
            StorageError: If the file cannot be read or written.
        """
        _update(self._validation(run_name), scores.scores)

    def retrieve_validation_iteration_scores(self, run_name: str) -> list[ValidationIterationScores]:
        """Return the scores of all validated iterations of a run, an empty list when nothing is stored.

        Raises:
            StorageError: If the file cannot be read.
            UnsafeFileError: If it is a pickle that would run code.
        """
        return _read(self._validation(run_name), ValidationIterationScores)

    def delete_training_stats(self, run_name: str) -> None:
        """Delete the statistics of a run, if there are any."""
        remove_file(self._training(run_name), missing_ok=True)

    def delete_validation_scores(self, run_name: str) -> None:
        """Delete the validation scores of a run, if there are any."""
        remove_file(self._validation(run_name), missing_ok=True)

    def _training(self, run_name: str) -> Path:
        return self.path / "training_stats" / check_name(run_name, "run name")

    def _validation(self, run_name: str) -> Path:
        return self.path / "validation_scores" / check_name(run_name, "run name")


def _to_record(item: TrainingIterationStats | ValidationIterationScores) -> Record:
    # Not attrs.asdict, which copies the nested lists. What is empty (the reasons, mostly) is not written.
    return {
        name: value
        for name in (field.name for field in attrs.fields(type(item)))
        if (value := getattr(item, name)) is not None and value != {}
    }


def _update(path: Path, items: Sequence[T]) -> None:
    if path.is_file() and _is_pickle(path):
        write_bytes(path, b"".join(encode(record) + b"\n" for record in _read_pickle(path)))
    update_records(path, items, _to_record)


def _read(path: Path, cls: type[T]) -> list[T]:
    if not path.is_file():
        return []
    records = _read_pickle(path) if _is_pickle(path) else read_records(path)
    names = [field.name for field in attrs.fields(cls)]
    try:
        # Entries of the original carry the run's name too.
        return [cls(**{name: record[name] for name in names if name in record}) for record in records]
    except (TypeError, KeyError) as error:
        raise StorageError(f"{path} does not hold entries of a {cls.__name__}: {error}") from error


def _is_pickle(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(1) == _PICKLE_MARK


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, dicts, strings and numbers, and refuses to look up any class or function."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise UnsafeFileError(f"it asks for {module}.{name}, and reading that could run code")


def _read_pickle(path: Path) -> list[Record]:
    content = read_bytes(path)
    try:
        records: Any = _PlainUnpickler(io.BytesIO(content)).load()
    except UnsafeFileError as error:
        raise UnsafeFileError(f"{path} is refused: {error}") from None
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path} is a damaged pickle: {error}") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise StorageError(f"{path} does not hold a list of entries")
    return records
