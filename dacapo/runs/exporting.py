"""Export a run as one archive, to move it to another machine or another kind of store."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from dacapo.errors import OutputExistsError, RunInUseError, StorageError, UnsafeFileError
from dacapo.runs.archives import CHUNK, kind_of, new_archive
from dacapo.runs.manifest import (
    CONFIG,
    FOLDER,
    MANIFEST,
    PARTS,
    TRAINING,
    VALIDATION,
    Entry,
    Manifest,
    check_path,
)
from dacapo.store.converter import to_plain
from dacapo.store.create_store import create_config_store, create_stats_store
from dacapo.store.files import atomic_write, storage_error
from dacapo.store.json_lines import encode
from dacapo.store.record_stats_store import to_entry
from dacapo.store.run_folder import ARRAYS, run_folder
from dacapo.store.training_lock import holder_of, training_lock
from dacapo.utils.memory import format_size


@attrs.frozen
class Exported:
    """An archive with a run.

    Attributes:
        name: Name of the run.
        archive: The archive.
        files: Number of files in it.
        size: Their bytes.
        compressed: Bytes of the archive.
    """

    name: str
    archive: Path
    files: int
    size: int
    compressed: int

    def as_plain(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**attrs.asdict(self), "archive": str(self.archive)}

    def __str__(self) -> str:
        """Return the archive and its sizes in words."""
        size = f"{self.files} files, {format_size(self.size)}, compressed {format_size(self.compressed)}"
        return f"exported run {self.name} to {self.archive} ({size})"


def export_run(name: str, archive: Path | str, arrays: bool = True, overwrite: bool = False) -> Exported:
    """Write a run to an archive: config, statistics, scores, checkpoints, records of its trainings, and arrays.

    :func:`.import_run` stores it again, bit for bit. The data that it was trained on is not included, and neither are
    logs for other programs.

    Args:
        name: Name of a stored run.
        archive: The file to write, ``.tar.gz`` or ``.zip``. It is complete or not there at all.
        arrays: Whether to include the best outputs of validation, and snapshots; no training or prediction needs them.
        overwrite: Whether to replace the file.

    Raises:
        ConfigNotFoundError: If no run of that name is stored.
        ConfigError: If the archive has another ending.
        OutputExistsError: If the archive exists.
        RunInUseError: If the run is being trained.
        StorageError: If something cannot be read or written.
        UnsafeFileError: If the folder of the run holds links that lead out of it, or devices.
    """
    path = Path(archive)
    kind = kind_of(path)
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists; choose another name, or overwrite it")
    config = create_config_store().retrieve_run_config(name)
    with _unchanged(name):
        files = {CONFIG: json.dumps(to_plain(config), indent=1).encode(), **_records(name)}
        sources: dict[str, Path | bytes] = {**files, **_files_of(name, arrays)}
        manifest = Manifest(name, version("dacapo"), datetime.now(UTC).isoformat(timespec="seconds"), _entries(sources))
        content = manifest.dump()
        with atomic_write(path) as file, new_archive(file, kind) as add:
            add(MANIFEST, len(content), BytesIO(content))
            for entry in manifest.stored.values():
                with _opened(sources[entry.path]) as source:
                    checked = _Checked(source)
                    add(entry.path, entry.size, checked)
                    if checked.sum.hexdigest() != entry.sha256:
                        raise StorageError(f"{entry.path} of run {name!r} changed while it was read; export it again")
    return Exported(name, path, len(manifest.entries), manifest.size, path.stat().st_size)


@contextmanager
def _unchanged(name: str) -> Iterator[None]:
    """Keep others from changing a run inside a ``with`` block; in a read-only folder, nobody can."""
    folder = run_folder(name)
    if not folder.exists() or os.access(folder, os.W_OK):
        with training_lock(name, use="exported"):
            yield
        return
    holder = holder_of(name)
    if holder is not None:
        raise RunInUseError(f"run {name!r} is being {holder.use} by {holder}; wait for it, or end it")
    yield


def _records(name: str) -> dict[str, bytes]:
    stats = create_stats_store()
    losses = map(to_entry, stats.retrieve_training_stats(name).iteration_stats)
    scores = map(to_entry, stats.retrieve_validation_iteration_scores(name))
    records = {TRAINING: losses, VALIDATION: scores}
    return {path: b"".join(encode(entry) + b"\n" for entry in entries) for path, entries in records.items()}


def _files_of(name: str, arrays: bool) -> dict[str, Path]:
    folder = run_folder(name).resolve()
    wanted = [part for part in PARTS if arrays or part not in ARRAYS]
    found = {}
    for part in wanted:
        for file in _walk(folder / part, folder):
            path = f"{FOLDER}/{file.relative_to(folder).as_posix()}"
            found[check_path(path, folder)] = file
    return found


def _walk(path: Path, folder: Path) -> Iterator[Path]:
    """Yield the files below a path; a link has to lead to a file of the same folder."""
    target = path.resolve()
    if path.is_symlink() and not (target.is_file() and target.is_relative_to(folder)):
        raise UnsafeFileError(
            f"{path} is a link to {target}, which is no file in the folder of the run; replace it by a copy, or remove "
            "it"
        )
    if path.is_file():
        if not path.name.endswith(".partial"):  # of a process that was killed
            yield path
    elif path.is_dir():
        try:
            inner = sorted(path.iterdir())
        except OSError as error:
            raise storage_error("read the folder", path, error) from error
        for one in inner:
            yield from _walk(one, folder)
    elif path.exists():
        raise UnsafeFileError(f"{path} is a device or the like, which cannot be exported; remove it")


def _entries(sources: dict[str, Path | bytes]) -> list[Entry]:
    """Return what the manifest says of files; one with several names, as the best checkpoints have, is stored once."""
    first: dict[tuple[int, int], Entry] = {}
    entries = []
    for path, source in sources.items():
        if isinstance(source, bytes):
            entries.append(Entry(path, len(source), hashlib.sha256(source).hexdigest()))
            continue
        status = source.stat()
        known = first.get((status.st_dev, status.st_ino))
        if known is not None:
            entries.append(attrs.evolve(known, path=path, same_as=known.path))
            continue
        with _opened(source) as file:
            entry = Entry(path, status.st_size, _digest(file))
        first[status.st_dev, status.st_ino] = entry
        entries.append(entry)
    return entries


@contextmanager
def _opened(source: Path | bytes) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield BytesIO(source)
        return
    try:
        file = open(source, "rb")  # noqa: SIM115
    except OSError as error:
        raise storage_error("read", source, error) from error
    with file:
        yield file


def _digest(file: BinaryIO) -> str:
    found = hashlib.sha256()
    while chunk := file.read(CHUNK):
        found.update(chunk)
    return found.hexdigest()


class _Checked:
    """Passes on what is read from a file, and adds up its checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.sum = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, CHUNK))
        self.sum.update(data)
        return data
