"""Delete all that is stored of a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from dacapo.errors import DamagedFileError, UnsafeFileError
from dacapo.runs.sizes import size_of
from dacapo.store.create_store import create_config_store, create_stats_store
from dacapo.store.files import remove_file, storage_error
from dacapo.store.run_folder import INCOMING, PARTS, run_folder
from dacapo.store.training_lock import FILE, training_lock
from dacapo.utils.memory import format_size


@attrs.frozen
class Removal:
    """The parts of a run that are removed.

    Attributes:
        name: Name of the run.
        sizes: Bytes of each part of its folder, by description.
        iterations: Number of iterations with statistics, None if they cannot be read.
        validations: Number of validations with scores, None if they cannot be read.
        has_config: Whether its config is stored.
        left: Files and folders in its folder that are not of dacapo, which stay.
    """

    name: str
    sizes: dict[str, int]
    iterations: int | None
    validations: int | None
    has_config: bool
    left: list[str]

    @property
    def size(self) -> int:
        """All bytes of its folder that are removed."""
        return sum(self.sizes.values())

    def as_plain(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**attrs.asdict(self), "size": self.size}

    def __str__(self) -> str:
        """Return the parts in words."""
        parts = [f"{what} ({format_size(size)})" for what, size in self.sizes.items()]
        for count, what, of in (
            (self.iterations, "statistics", "iterations"),
            (self.validations, "scores", "validations"),
        ):
            parts += [f"unreadable {what}"] if count is None else [f"{what} of {count} {of}"] if count else []
        parts += ["its config"] if self.has_config else []
        return f"run {self.name}: {', '.join(parts)}; {format_size(self.size)} in all"


def removal_of(name: str) -> Removal:
    """Return the parts of a run that :func:`delete_run` would remove.

    Raises:
        ConfigNotFoundError: If nothing is stored of a run of that name.
    """
    folder, stats, configs = run_folder(name), create_stats_store(), create_config_store()
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    found = Removal(
        name,
        {what: size_of(folder / part) for part, what in _PARTS.items() if _exists(folder / part)},
        _count(lambda: stats.retrieve_training_stats(name).iteration_stats),
        _count(lambda: stats.retrieve_validation_iteration_scores(name)),
        name in configs.retrieve_run_config_names(),
        [entry.name for entry in entries if entry.name not in _PARTS and entry.name != FILE],
    )
    if not (found.sizes or found.iterations != 0 or found.validations != 0 or found.has_config):
        configs.retrieve_run_config(name)  # raises an error that suggests similar names
    return found


def delete_run(name: str) -> Removal:
    """Delete all that is stored of a run: checkpoints, arrays, records, statistics, scores, and its config last.

    If it is interrupted, the run is still listed, and the same call deletes the rest. Files in its folder that are not
    of dacapo stay. A link in the folder is removed, and not what it leads to.

    Returns:
        The parts that were removed.

    Raises:
        ConfigNotFoundError: If nothing is stored of a run of that name.
        RunInUseError: If the run is being trained, or used in another way; the message says by which process.
        StorageError: If something cannot be removed.
    """
    removal_of(name)
    with training_lock(name, use="deleted"):
        removal = removal_of(name)
        folder, stats = run_folder(name), create_stats_store()
        for part in _PARTS:
            _remove(folder / part)
        stats.delete_training_stats(name)
        stats.delete_validation_scores(name)
        if removal.has_config:
            create_config_store().delete_run_config(name)
    with suppress(OSError):  # it still holds files of others
        folder.resolve().rmdir()
        if folder.is_symlink():
            folder.unlink()
    return removal


_PARTS = {**PARTS, INCOMING: "the rest of an import"}


def _count(read: Callable[[], Sequence[Any]]) -> int | None:
    try:
        return len(read())
    except (DamagedFileError, UnsafeFileError):  # a damaged record can be deleted too
        return None


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        remove_file(path)
    elif path.exists():
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise storage_error("remove", path, error) from error
