"""The list of files at the beginning of an archive with a run, and the rules that their paths follow."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs

from dacapo.errors import DacapoError, DamagedFileError, StorageError, UnsafeFileError
from dacapo.store.run_folder import ARRAYS, CHECKPOINTS, SESSIONS
from dacapo.utils.plain_json import parse_json

FORMAT = 1
MANIFEST = "manifest.json"
CONFIG, TRAINING, VALIDATION = "config.json", "training_stats.jsonl", "validation_scores.jsonl"
FOLDER = "run"
PARTS = (SESSIONS, *ARRAYS, CHECKPOINTS)
"""The entries of a run's folder that an archive holds, in the order in which they are put in place."""

MOST_BYTES = 64 * 2**20
"""Longest manifest that is read."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONGEST_PATH, _LONGEST_NAME = 4000, 255


@attrs.frozen
class Entry:
    """One file.

    Attributes:
        path: Path in the archive.
        size: Number of bytes.
        sha256: Checksum of its content.
        same_as: Path of the file that it shares its content with, whose size and checksum it has; it is not in the
            archive itself.
    """

    path: str
    size: int
    sha256: str
    same_as: str | None = None


@attrs.frozen
class Manifest:
    """Which run an archive holds, and its files.

    Attributes:
        name: Name of the run.
        version: Version of dacapo that wrote it.
        created: When, as in ISO 8601.
        entries: The files in the order of the archive.
    """

    name: str
    version: str
    created: str
    entries: list[Entry]

    @property
    def stored(self) -> dict[str, Entry]:
        """The files that are in the archive, by path."""
        return {entry.path: entry for entry in self.entries if entry.same_as is None}

    @property
    def size(self) -> int:
        """Number of bytes of all files in the archive."""
        return sum(entry.size for entry in self.entries if entry.same_as is None)

    def dump(self) -> bytes:
        """Return the manifest as a file."""
        plain = attrs.asdict(self, filter=lambda _, value: value is not None)
        return json.dumps({"format": FORMAT, **plain}, indent=1).encode()

    @classmethod
    def read(cls, content: bytes, archive: object) -> Manifest:
        """Read a manifest, and check it: no path leads out of the folder of the run, and no size is negative.

        Args:
            content: The file.
            archive: The archive, for messages.

        Raises:
            DamagedFileError: If it is not a manifest.
            UnsafeFileError: If a path is not allowed.
            StorageError: If it is of a later format.
        """
        try:
            plain = parse_json(content)
            if plain["format"] != FORMAT:
                raise StorageError(
                    f"{archive} has format {plain['format']!r}, this version reads format {FORMAT}; update dacapo"
                )
            name, version, created = (_text(plain[field]) for field in ("name", "version", "created"))
            entries = [_entry(one, archive) for one in plain["entries"]]
        except DacapoError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedFileError(f"{archive}: its {MANIFEST} is not one of a run ({error})") from error
        manifest = cls(name, version, created, entries)
        _check_together(manifest, archive)
        return manifest


def check_path(path: str, archive: object) -> str:
    """Return the path of a file in an archive, if it is allowed there.

    Raises:
        UnsafeFileError: If it leads elsewhere, or is none of a run.
    """
    names = path.split("/")
    if (
        len(path) > _LONGEST_PATH
        or not path.isprintable()
        or "\\" in path
        or any(name in ("", ".", "..") or len(name.encode()) > _LONGEST_NAME for name in names)
    ):
        raise UnsafeFileError(f"{archive} names the file {path[:200]!r}, which would lead out of the folder of the run")
    if path not in (CONFIG, TRAINING, VALIDATION) and not (len(names) > 2 and names[0] == FOLDER and names[1] in PARTS):
        raise UnsafeFileError(f"{archive} names the file {path[:200]!r}, which is no part of a run")
    return path


def _entry(plain: dict[str, Any], archive: object) -> Entry:
    path, size, digest, same = _text(plain["path"]), plain["size"], _text(plain["sha256"]), plain.get("same_as")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 2**63:
        raise ValueError(f"{size!r} is not the size of a file")
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is not a SHA-256 checksum")
    return Entry(check_path(path, archive), size, digest, None if same is None else _text(same))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    value.encode()  # a lone surrogate is an error here
    return value


def _check_together(manifest: Manifest, archive: object) -> None:
    paths = {entry.path for entry in manifest.entries}
    if len(paths) < len(manifest.entries):
        raise DamagedFileError(f"{archive}: its {MANIFEST} names a file twice")
    missing = {CONFIG, TRAINING, VALIDATION} - paths
    if missing:
        raise DamagedFileError(f"{archive}: its {MANIFEST} lacks {', '.join(sorted(missing))}")
    stored = manifest.stored
    for entry in manifest.entries:
        same = entry if entry.same_as is None else stored.get(entry.same_as)
        if same is None or (same.size, same.sha256) != (entry.size, entry.sha256):
            raise DamagedFileError(f"{archive}: {entry.path} is said to be {entry.same_as}, which it is not")
