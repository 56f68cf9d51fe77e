"""Import a run from an archive, which may come from a stranger.

All files go to a folder inside that of the run first, where their checksums are compared. Only then do the parts take
their places, the config last; until it is stored, there is no run. The rest of a killed import is removed by the next
one of that name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from dacapo.errors import ConfigError, DamagedFileError, DuplicateNameError, StorageError, UnsafeFileError
from dacapo.experiments.build import run_seed
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.options import Options
from dacapo.runs.archives import CHUNK, MOST_EXPANSION, Archive, Source, open_archive
from dacapo.runs.manifest import (
    CONFIG,
    FOLDER,
    MANIFEST,
    MOST_BYTES,
    PARTS,
    TRAINING,
    VALIDATION,
    Entry,
    Manifest,
)
from dacapo.store import record_stats_store as records
from dacapo.store.converter import from_plain
from dacapo.store.create_store import create_config_store, create_stats_store
from dacapo.store.files import link_or_copy, make_folder, read_bytes, storage_error
from dacapo.store.json_lines import entries_of
from dacapo.store.local_weights_store import LocalWeightsStore
from dacapo.store.plain_config_store import RESERVED_RUN_NAMES
from dacapo.store.run_folder import ARRAYS, INCOMING, run_folder
from dacapo.store.trained_config import plain_config, write_trained_config
from dacapo.store.training_lock import training_lock
from dacapo.utils.memory import format_size
from dacapo.utils.names import check_name
from dacapo.utils.plain_json import parse_json

_LEAST_EXPANDED = 2**20
_KINDS: dict[str, tuple[str, type[Any]]] = {
    TRAINING: (records.TRAINING, TrainingIterationStats),
    VALIDATION: (records.VALIDATION, ValidationIterationScores),
}


@attrs.frozen
class Imported:
    """A run that was stored from an archive.

    Attributes:
        name: Its name now.
        original_name: Its name when it was exported.
        iterations: Number of iterations with statistics.
        validations: Number of validations with scores.
        checkpoints: Iterations with a checkpoint.
    """

    name: str
    original_name: str
    iterations: int
    validations: int
    checkpoints: list[int]

    def as_plain(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return attrs.asdict(self)

    def __str__(self) -> str:
        """Return what was imported, in words."""
        renamed = "" if self.name == self.original_name else f" as {self.name}"
        latest = f"the latest checkpoint is {self.checkpoints[-1]}" if self.checkpoints else "it has no checkpoint"
        return f"imported run {self.original_name}{renamed}: {self.iterations} iterations, {latest}"


def import_run(archive: Path | str, name: str | None = None) -> Imported:
    """Store a run from an archive of :func:`.export_run`, in the stores of the options in use.

    Training, prediction and all records go on as on the machine that it comes from; only the data that its config names
    has to be there. A run whose random numbers follow from its name keeps its seed under another name.

    Args:
        archive: The archive.
        name: Another name for the run.

    Raises:
        DuplicateNameError: If something is stored under the name already.
        ConfigError: If the config cannot be read, for example because a plugin is missing, or the name cannot be used.
        DamagedFileError: If the archive is cut off or damaged.
        UnsafeFileError: If it holds anything but the files of one run, or declares more than it can hold.
        RunInUseError: If another process imports or trains a run of that name.
        StorageError: If something cannot be read or written, or the disk is too small.
    """
    path = Path(archive)
    with open_archive(path) as opened:
        files = opened.files()
        manifest = _read_manifest(opened, files)
        target = _checked_name(manifest.name if name is None else name)
        opened.expect(len(manifest.entries))
        _check_size(path, manifest)
        with training_lock(target, use="imported"):
            _check_free(target)
            folder = run_folder(target)
            try:
                _receive(path, files, manifest, folder / INCOMING)
                return _install(manifest, target, folder)
            except BaseException:
                if target not in create_config_store().retrieve_run_config_names():
                    _clear(target)
                raise


def _read_manifest(archive: Archive, files: Iterator[tuple[str, int, Source]]) -> Manifest:
    found = next(files, None)
    if found is None or found[0] != MANIFEST or found[1] > MOST_BYTES:
        raise DamagedFileError(
            f"{archive.path} does not begin with a {MANIFEST}; give an archive that 'dacapo run export' wrote"
        )
    content = b"".join(_chunks(found[2]))
    return Manifest.read(content, archive.path)


def _chunks(source: Source) -> Iterator[bytes]:
    while chunk := source.read(CHUNK):
        yield chunk


def _checked_name(name: str) -> str:
    if check_name(name, "run name") in RESERVED_RUN_NAMES:
        raise ConfigError(f"a run cannot be named {name!r}, which is a folder of dacapo; choose a name with --name")
    return name


def _check_size(path: Path, manifest: Manifest) -> None:
    """Refuse sizes that are false, or more than the disk can take, before anything is written."""
    most = max(_LEAST_EXPANDED, MOST_EXPANSION * path.stat().st_size)
    if manifest.size > most:
        raise UnsafeFileError(
            f"{path} declares {format_size(manifest.size)} of files, which is more than it can hold; it is not imported"
        )
    base = make_folder(Options.instance().runs_base_dir)
    free = shutil.disk_usage(base).free
    if manifest.size > free:
        raise StorageError(
            f"{path} holds {format_size(manifest.size)} of files, and {base} has {format_size(free)} left; free some "
            "space, or use another disk"
        )


def _check_free(name: str) -> None:
    """Check that nothing is stored under a name, and remove the rest of a killed import."""
    folder, stats = run_folder(name), create_stats_store()
    hint = "import it under another name (name=, --name), or delete the stored one first"
    if name in create_config_store().retrieve_run_config_names():
        raise DuplicateNameError(f"a run {name!r} is stored already; {hint}")
    if (folder / INCOMING).is_dir():
        _clear(name)
    taken = [part for part in PARTS if (folder / part).exists() or (folder / part).is_symlink()]
    taken += ["statistics"] if stats.last_training_stats(name) is not None else []
    taken += ["scores"] if stats.retrieve_validation_iteration_scores(name) else []
    if taken:
        raise DuplicateNameError(f"{', '.join(taken)} of a run {name!r} are stored already; {hint}")


def _clear(name: str) -> None:
    """Remove all parts of an import that has not come to its end."""
    folder, stats = run_folder(name), create_stats_store()
    stats.delete_training_stats(name)
    stats.delete_validation_scores(name)
    for part in (*PARTS, INCOMING):
        if (folder / part).exists():
            _remove_folder(folder / part)


def _remove_folder(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise storage_error("remove", path, error) from error


def _receive(path: Path, files: Iterator[tuple[str, int, Source]], manifest: Manifest, folder: Path) -> None:
    """Write the files of an archive below a new folder, and compare them with the manifest."""
    make_folder(folder)
    missing = manifest.stored
    for name, size, content in files:
        entry = missing.pop(name, None)
        if entry is None or entry.size != size:
            raise UnsafeFileError(
                f"{path} holds {name[:200]!r} of {size} bytes, which its {MANIFEST} does not; it is not imported"
            )
        _write(folder / name, content, entry, path)
    if missing:
        first, more = next(iter(missing)), len(missing) - 1
        raise DamagedFileError(f"{path} is cut off: {first} is missing, and {more} more files; copy or export it again")
    for entry in manifest.entries:
        if entry.same_as is not None:
            make_folder((folder / entry.path).parent)
            link_or_copy(folder / entry.same_as, folder / entry.path)


def _write(target: Path, content: Source, entry: Entry, archive: Path) -> None:
    make_folder(target.parent)
    digest, length = hashlib.sha256(), 0
    try:
        file = open(target, "xb")  # noqa: SIM115
    except OSError as error:
        raise storage_error("write", target, error) from error
    with file:
        for chunk in _chunks(content):
            digest.update(chunk)
            length += len(chunk)
            try:
                file.write(chunk)
            except OSError as error:
                raise storage_error("write", target, error) from error
        file.flush()
        if not any(f"/{part}/" in f"/{entry.path}" for part in ARRAYS):  # as the stores do
            os.fsync(file.fileno())
    if (length, digest.hexdigest()) != (entry.size, entry.sha256):
        raise DamagedFileError(f"{archive} is damaged: {entry.path} does not fit its checksum; copy or export it again")


def _install(manifest: Manifest, name: str, folder: Path) -> Imported:
    """Put what was received in its places, the config last."""
    incoming = folder / INCOMING
    config = _config(incoming, manifest, name)
    counts = {path: _store_record(incoming / path, path, name) for path in _KINDS}
    for part in PARTS:
        source = incoming / FOLDER / part
        if source.exists():
            try:
                source.rename(folder / part)
            except OSError as error:
                raise storage_error("write", folder / part, error) from error
    create_config_store().store_run_config(config)
    _remove_folder(incoming)
    checkpoints = LocalWeightsStore(folder.parent).iterations(name)
    return Imported(name, manifest.name, counts[TRAINING], counts[VALIDATION], checkpoints)


def _config(incoming: Path, manifest: Manifest, name: str) -> RunConfig:
    """Return the config of the run under its new name, and record it with the checkpoints."""
    config: RunConfig = from_plain(_plain(incoming / CONFIG), RunConfig, source=f"run {manifest.name!r} in the archive")
    store = LocalWeightsStore(incoming)
    trained = store.recorded_config(FOLDER)
    if name == config.name:
        return config
    if trained is not None:
        old = from_plain(trained, RunConfig, source=f"the checkpoints of run {manifest.name!r}")
        write_trained_config(store.config_file(FOLDER), plain_config(_renamed(old, name, run_seed(config))))
    return _renamed(config, name, run_seed(config))


def _renamed(config: RunConfig, name: str, seed: int) -> RunConfig:
    """Return a config under another name that draws the same random numbers."""
    return attrs.evolve(config, name=name, trainer_config=attrs.evolve(config.trainer_config, seed=seed))


def _plain(path: Path) -> Any:
    try:
        return parse_json(read_bytes(path))
    except ValueError as error:
        raise DamagedFileError(f"{path.name} in the archive is not JSON: {error}") from error


def _store_record(path: Path, kind: str, name: str) -> int:
    store = create_stats_store()
    if not isinstance(store, records.RecordStatsStore):
        raise ConfigError(f"a {type(store).__name__} cannot store the record of an imported run")
    known, cls = _KINDS[kind]
    items: list[Any] = records.from_entries(entries_of(read_bytes(path), path), cls, path.name)
    if items:
        store.store_entries(known, name, items)
    return len(items)
