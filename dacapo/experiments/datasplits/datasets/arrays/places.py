"""What containers ask of the files and folders that they consist of, on a disk or at a URL.

Servers are not asked for lists of files, since an array can have millions of them, and not every server has any. The
names of arrays at a URL come from the consolidated metadata of its container.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dacapo.errors import MetadataError, StorageError
from dacapo.utils.paths import is_url, shown
from dacapo.utils.plain_json import check_length, parse_json

from .remote import in_memory, memory_folders, read_remote


def read_file(path: Path) -> bytes | None:
    """Return the content of a small file, None if it does not exist.

    Raises:
        StorageError: If it cannot be read, which includes links that lead nowhere.
        MetadataError: If it is too long for a description of an array.
    """
    if is_url(path):
        return read_remote(path)
    try:
        with open(path, "rb") as file:
            check_length(os.fstat(file.fileno()).st_size)
            return file.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            raise StorageError(
                f"cannot read {path}: the link leads to {os.readlink(path)}, which is missing"
            ) from error
        return None
    except IsADirectoryError as error:
        if path.suffix or path.name.startswith("."):
            raise StorageError(f"cannot read {path}: expected a file, found a folder") from error
        return None  # an array can have the name of a file of other formats, such as "info"
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error}") from error
    except ValueError as error:
        raise MetadataError(f"{path} is no metadata: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, an empty one if the file does not exist.

    Raises:
        StorageError: If the file cannot be read.
        MetadataError: If it holds something else.
    """
    read = read_file(path)
    if read is None:
        return {}
    return parse_object(read, path)


def parse_object(text: bytes, path: Path) -> dict[str, Any]:
    """Return the object that the text of a JSON file holds.

    Raises:
        MetadataError: If it holds something else.
    """
    try:
        content = parse_json(text)
    except ValueError as error:
        raise MetadataError(f"{shown(path)} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise MetadataError(f"{shown(path)} holds {type(content).__name__}; expected a JSON object")
    return content


def has_file(path: Path) -> bool:
    """Return whether a small file exists.

    Raises:
        StorageError: If that cannot be told, or a link leads nowhere.
    """
    if is_url(path):
        return read_remote(path) is not None
    mode = mode_of(path)
    return mode is not None and stat.S_ISREG(mode)


def is_folder(path: Path) -> bool:
    """Return whether a folder exists; True for URLs, which have none.

    Raises:
        StorageError: If that cannot be told, or a link leads nowhere.
    """
    if is_url(path):
        return True
    mode = mode_of(path)
    return mode is not None and stat.S_ISDIR(mode)


def mode_of(path: Path | str) -> int | None:
    """Return what lies at a path of a disk, in the form of :mod:`stat`; None only if nothing does.

    Raises:
        StorageError: If that cannot be told, or a link leads nowhere.
    """
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.islink(path):
            raise StorageError(
                f"cannot read {path}: the link leads to {os.readlink(path)}, which is missing"
            ) from error
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error


def folders_in(folder: Path) -> Iterator[Path]:
    """Yield the folders in a folder, sorted; of a URL those that its consolidated metadata lists."""
    if in_memory(folder):
        yield from memory_folders(folder)
    elif is_url(folder):
        yield from sorted({folder / name.split("/")[0] for name in _consolidated(folder) if name})
    elif is_folder(folder):
        try:
            children = sorted(folder.iterdir())
        except OSError as error:
            raise StorageError(f"cannot read {folder}: {error.strerror}") from error
        yield from (child for child in children if child.is_dir())


def has_group(folder: Path) -> bool:
    """Return whether a folder says that it is a group, or, on a disk, has folders inside."""
    if is_url(folder):
        return has_file(folder / ".zgroup") or has_file(folder / "zarr.json")
    return any(True for _ in folders_in(folder))


def _consolidated(folder: Path) -> list[str]:
    """Return the names of the groups and arrays below a folder, as far as its metadata lists them."""
    listed = read_json(folder / ".zmetadata").get("metadata")
    if isinstance(listed, Mapping):
        return [name.rpartition("/")[0] for name in listed]
    inside = read_json(folder / "zarr.json").get("consolidated_metadata")
    listed = inside.get("metadata") if isinstance(inside, Mapping) else None
    return list(listed) if isinstance(listed, Mapping) else []
