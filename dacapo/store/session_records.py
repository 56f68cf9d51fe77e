"""Records of the training sessions of a run, one file each: ``<runs_base_dir>/<run>/sessions/<number>.json``.

A record is written when a session begins, and again when it ends; both times atomically. One of a process that was
killed has no end.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dacapo.errors import DamagedFileError
from dacapo.options import DaCapoConfig
from dacapo.store.files import paths_in, read_text, write_text
from dacapo.store.run_folder import SESSIONS, run_folder
from dacapo.utils.plain_json import parse_json

FORMAT = 1
_PARTS: dict[str, type[Any]] = {
    "iterations": dict,
    "config": dict,
    "seeds": dict,
    "settings": dict,
    "versions": dict,
    "inputs": list,
    "machine": dict,
}
_TEXTS = ("begun", "ended", "outcome")


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record, in place of an earlier version of it.

    Raises:
        StorageError: If it cannot be written.
    """
    write_text(path, json.dumps({"format": FORMAT, **record}, indent=1, ensure_ascii=False) + "\n")


def new_record(run_name: str, options: DaCapoConfig | None = None) -> Path:
    """Return the file for the record of the next session of a run."""
    taken = _files(run_name, options)
    return run_folder(run_name, options) / SESSIONS / f"{1 + max(taken, default=0)}.json"


def read_records(run_name: str, options: DaCapoConfig | None = None) -> list[dict[str, Any]]:
    """Return the records of all sessions of a run, the earliest first; each with its ``session``, counted from 1.

    Raises:
        DamagedFileError: If a file does not hold a record.
        StorageError: If a file cannot be read.
    """
    return [{"session": number, **_read(path)} for number, path in sorted(_files(run_name, options).items())]


def _files(run_name: str, options: DaCapoConfig | None) -> dict[int, Path]:
    paths = paths_in(run_folder(run_name, options) / SESSIONS)
    return {
        int(path.stem): path for path in paths if path.suffix == ".json" and path.stem.isascii() and path.stem.isdigit()
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        record = parse_json(read_text(path))
    except ValueError as error:
        raise DamagedFileError(f"{path} is damaged: {error}; restore a copy, or remove it") from error
    complete: dict[str, Any] = {name: kind() for name, kind in _PARTS.items()} | dict.fromkeys(_TEXTS)
    if isinstance(record, dict):
        complete.update(record)
    if not _is_record(complete):
        raise DamagedFileError(f"{path} is not the record of a training session; restore a copy, or remove it")
    complete["iterations"].setdefault("to", None)
    complete["machine"].setdefault("gpus", [])
    return complete


def _is_record(record: dict[str, Any]) -> bool:
    """Return whether all parts of a record are of the kind that readers rely on."""
    if not all(isinstance(record[name], kind) for name, kind in _PARTS.items()):
        return False
    inputs = [one for one in record["inputs"] if isinstance(one, dict)]
    return (
        all(isinstance(record[name], str | None) for name in _TEXTS)
        and type(record["iterations"].get("from")) is int
        and type(record["iterations"].get("to")) in (int, type(None))
        and len(inputs) == len(record["inputs"])
        and all(isinstance(one.get(name), str) for one in inputs for name in ("place", "sha256"))
        and isinstance(record["machine"].get("gpus", []), list)
    )
