"""Files of tensors in plain containers, which `torch.save` writes and which never execute code when they are read."""

from __future__ import annotations

import errno
import pickle
import re
import threading
from pathlib import Path
from typing import Any, BinaryIO

import torch

from dacapo.errors import DamagedFileError, MemoryBudgetError, StorageError, UnsafeFileError
from dacapo.store.checksums import ChecksumWriter
from dacapo.store.files import atomic_write, storage_error
from dacapo.store.weights_store import Weights

# First bytes of a zip archive, the format of torch since 1.6, and of a bare pickle, its format before.
_MAGIC = (b"PK\x03\x04", b"\x80")

# torch keeps the list of classes that may be read per process, so changes to it need a lock.
_reading = threading.Lock()


def write_tensors(path: Path, content: Any) -> None:
    """Write tensors in plain containers, with a checksum, atomically.

    Raises:
        StorageError: If the file cannot be written.
    """
    try:
        with atomic_write(path) as file:
            writer = ChecksumWriter(file)
            torch.save(content, writer)  # type: ignore[arg-type]
            writer.finish()
    except RuntimeError as error:
        # torch's zip writer fails a second time when it closes a file after a failed write.
        if isinstance(error.__context__, OSError):
            raise storage_error("write", path, error.__context__) from error
        raise StorageError(f"cannot write {path}: {error}") from error


def read_tensors(path: Path, mapped: bool = False) -> Any:
    """Read a `torch.save` file of tensors in plain containers, to the CPU.

    Args:
        path: The file.
        mapped: Whether to read the values of a tensor on first use, if the format of the file allows it.

    Raises:
        StorageError: If the file cannot be read or is damaged.
        UnsafeFileError: If it would execute code.
        MemoryBudgetError: If it does not fit into memory.
    """
    try:
        with open(path, "rb") as file:
            first = file.read(4)
            if not first.startswith(_MAGIC):
                raise DamagedFileError(f"{path} is damaged or not a torch.save file; remove it or restore a copy")
            file.seek(0)
            return _load_tensors(file, path, mapped and first.startswith(_MAGIC[0]))
    except StorageError:
        raise
    except OSError as error:
        raise storage_error("read", path, error) from error


def _load_tensors(file: BinaryIO, path: Path, mapped: bool) -> Any:
    """Do the same as :func:`read_tensors` for an open file. Reading a damaged file can raise almost any error."""
    try:
        with _reading, torch.serialization.safe_globals([Weights]):
            return torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        # Omit the rest of torch's message, which recommends to read the file anyway.
        named = re.search(r"GLOBAL (\S+)", str(error))
        raise UnsafeFileError(
            f"{path} was not read: it holds more than tensors and plain values and could execute code"
            + (f", namely {named.group(1)}" if named else "; or it is damaged")
        ) from error
    except Exception as error:
        # An invalid argument can only be a negative offset, which means that the end of the file is missing.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if isinstance(error, MemoryError) or "allocate memory" in reason:
            raise MemoryBudgetError(f"{path} was not read: it does not fit into memory ({reason})") from error
        raise DamagedFileError(f"{path} is damaged or cut off ({reason}); remove it or restore a copy") from error
