"""Append-only files of JSON lines, one per iteration.

A save costs only as much as its new entries: the last line tells how far the file reaches, and new lines are appended.
A process killed while writing leaves an incomplete last line, which readers drop and the next save overwrites. Lines
are compared as bytes, so that NaN equals NaN.
"""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import attrs
import orjson

from dacapo.errors import DamagedFileError, StorageError
from dacapo.store.files import is_file, make_folder, read_bytes, storage_error
from dacapo.utils.plain_json import parse_json

ITERATION = "iteration"
_BLOCK = 1 << 16

# Bytes before a mark that are compared; they hold several losses and times, which do not repeat.
_KEPT = 200

# Everything but numbers and the characters that end them.
_NOT_OF_NUMBERS = bytes(set(range(256)) - set(b"0123456789+-.eE,\n"))
_LINES_TO_COMMAS = bytes.maketrans(b"\n", b",")

Entry = dict[str, Any]


def encode(entry: Entry) -> bytes:
    """Return an entry as one line, without the line end. NaN and infinities are written as ``NaN`` and ``Infinity``."""
    return json.dumps(entry, separators=(",", ":"), default=_plain_number).encode()


def read_entries(path: Path) -> list[Entry]:
    """Return all entries of a file.

    Raises:
        StorageError: If the file cannot be read, or a line before the last is not an entry.
    """
    return entries_of(read_bytes(path), path)


def read_columns(path: Path) -> dict[str, list[Any]] | None:
    """Return the values of each field as one list per field, several times as fast as :func:`read_entries`.

    Returns:
        None unless all complete lines hold the same fields in the same order, with finite numbers only. Integers of
        more than 64 bits are read as floats.

    Raises:
        StorageError: If the file cannot be read.
    """
    return columns_of(read_bytes(path))


def columns_of(content: bytes) -> dict[str, list[Any]] | None:
    """Do the same as :func:`read_columns`, with the content of a file."""
    lines = content if content.endswith(b"\n") else content[: content.rfind(b"\n") + 1]
    fields = list(_parse(lines[: lines.find(b"\n")]) or {})
    # Letters of field names that remain after everything but numbers is removed; remove them too.
    left_over = [json.dumps(name).encode().translate(None, _NOT_OF_NUMBERS) for name in fields]
    if not fields or any(letters.strip(b"e") for letters in left_over) or not _lines_of(fields).fullmatch(lines):
        return None
    numbers = lines.translate(_LINES_TO_COMMAS, _NOT_OF_NUMBERS)
    for letters in sorted(set(left_over) - {b""}, reverse=True):
        numbers = numbers.replace(b"," + letters, b"," + b" " * len(letters))  # same length, which is faster
    try:
        values = orjson.loads(b"".join((b"[", memoryview(numbers)[len(left_over[0]) : -1], b"]")))
    except ValueError:
        return None
    return {name: values[index :: len(fields)] for index, name in enumerate(fields)}


def read_last(path: Path) -> Entry | None:
    """Return the last entry of a file without reading the others, None if there is none.

    Raises:
        StorageError: If the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return _last_line(file)[0]
    except OSError as error:
        raise storage_error("read", path, error) from error


@attrs.frozen
class Mark:
    """A place in a file: the end of a complete line, and the end of that line, to notice that it was replaced."""

    position: int = 0
    before: bytes = b""


def read_appended(path: Path, mark: Mark) -> tuple[bytes, Mark, bool]:
    """Return the complete lines that were appended to a file since an earlier call.

    Args:
        path: The file.
        mark: The mark that the earlier call returned, or ``Mark()`` for all lines.

    Returns:
        The lines, the mark for the next call, and whether these are all lines, as they are too if those before the mark
        were replaced.

    Raises:
        StorageError: If the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            file.seek(mark.position - len(mark.before))
            anew = mark.position == 0 or file.read(len(mark.before)) != mark.before
            start = 0 if anew else mark.position
            file.seek(start)
            content = file.read()
    except OSError as error:
        raise storage_error("read", path, error) from error
    lines = content[: content.rfind(b"\n") + 1]
    if not lines:
        return b"", Mark() if anew else mark, anew
    return lines, Mark(start + len(lines), lines[-_KEPT:]), anew


def _lines_of(fields: Sequence[str]) -> re.Pattern[bytes]:
    """Return a pattern for lines that hold these fields with numeric values, and a 64-bit integer iteration."""
    values = [b"-?[0-9]{1,18}+" if name == ITERATION else b"[0-9+.eE-]++" for name in fields]
    line = b",".join(re.escape(json.dumps(name).encode()) + b":" + v for name, v in zip(fields, values, strict=True))
    return re.compile(rb"(?:\{" + line + rb"\}\n)*+")


def update_entries(path: Path, items: Sequence[Any], to_entry: Callable[[Any], Entry]) -> None:
    """Replace the tail of a file by ``items``; entries of earlier iterations stay.

    If ``items`` contains the last line of the file, all items up to it are assumed to be stored already.

    Args:
        path: The file; it need not exist.
        items: Objects with an ``iteration``, ascending.
        to_entry: Converts an item to an entry.

    Raises:
        StorageError: If the file cannot be read or written.
    """
    make_folder(path.parent)
    if path.is_symlink():
        raise StorageError(
            f"cannot write {path}: it is a link, which leads to {path.resolve()}; replace it by that file"
        )
    try:
        with open(path, "r+b" if is_file(path) else "x+b", opener=_open_no_link) as file:
            position, first_new = _common(file, path, items, to_entry)
            lines = b"".join(encode(to_entry(item)) + b"\n" for item in items[first_new:])
            file.seek(position)
            file.truncate()
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
    except StorageError:
        raise
    except OSError as error:
        raise storage_error("write", path, error) from error


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _common(file: BinaryIO, path: Path, items: Sequence[Any], to_entry: Callable[[Any], Entry]) -> tuple[int, int]:
    """Return the offset to write at, and the index of the first item to write."""
    last, end = _last_line(file)
    if last is None or not items:
        return 0, 0
    if last[ITERATION] < items[0].iteration:
        return end, 0
    index = bisect_left(items, last[ITERATION], key=lambda item: item.iteration)
    if index < len(items) and encode(to_entry(items[index])) == encode(last):
        file.seek(0)
        first = _parse(file.readline())
        if first is not None and first[ITERATION] <= items[0].iteration:
            return end, index + 1
    return _compare_all(file, path, items, to_entry)


def _compare_all(file: BinaryIO, path: Path, items: Sequence[Any], to_entry: Callable[[Any], Entry]) -> tuple[int, int]:
    """Do the same as :func:`_common` by reading the whole file, after a run went back or was trained anew."""
    file.seek(0)
    position = index = 0
    for entry, line, end in _good_lines(file.read(), path):
        if entry[ITERATION] >= items[0].iteration:
            if index == len(items) or encode(to_entry(items[index])) != line:
                break
            index += 1
        position = end
    return position, index


def _last_line(file: BinaryIO) -> tuple[Entry | None, int]:
    """Return the last entry of a file and the end of its line; anything after that is an incomplete line."""
    end = file.seek(0, os.SEEK_END)
    tail, start = b"", end
    while True:
        lines = tail.split(b"\n")
        # The first part may begin inside a line, unless the whole file is read; the last part is incomplete.
        complete = lines[:-1] if start == 0 else lines[1:-1]
        end_of_line = start + len(tail) - len(lines[-1])
        for line in reversed(complete):
            entry = _parse(line)
            if entry is not None:
                return entry, end_of_line
            end_of_line -= len(line) + 1
        if start == 0:
            return None, 0
        size = min(max(_BLOCK, len(tail)), start)
        start = file.seek(start - size)
        tail = file.read(size) + tail


def _read_at_once(content: bytes) -> list[Entry] | None:
    """Return the entries of all complete lines, or None if a line is broken.

    One call of the parser is about three times as fast as one per line. An entry is one line, so if the numbers of
    entries and lines agree, no line was joined with the next.
    """
    lines = content[: content.rfind(b"\n") + 1]
    try:
        entries = json.loads((b"[" + lines[:-1].replace(b"\n", b",") + b"]").decode())
    except (ValueError, RecursionError):
        return None
    return entries if len(entries) == lines.count(b"\n") and all(map(_is_entry, entries)) else None


def entries_of(content: bytes, path: Path) -> list[Entry]:
    """Return all entries that the content of a file holds.

    Raises:
        DamagedFileError: If a line before the last is not an entry.
    """
    entries = _read_at_once(content)
    return [entry for entry, _, _ in _good_lines(content, path)] if entries is None else entries


def _good_lines(content: bytes, path: Path) -> Iterator[tuple[Entry, bytes, int]]:
    """Yield each entry, its line and the end of the line; only lines at the end of the file may be broken."""
    end, broken = 0, 0
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        end += len(line) + 1
        entry = _parse(line)
        if entry is None:
            broken = broken or number
        elif broken:
            raise DamagedFileError(f"{path} is damaged in line {broken}; remove that line, or restore a copy")
        else:
            yield entry, line, end


def _parse(line: bytes) -> Entry | None:
    """Return the entry on a line, or None if the line is broken."""
    try:
        entry = parse_json(line)
    except ValueError:
        return None
    return entry if _is_entry(entry) else None


def _is_entry(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get(ITERATION), int)


def _plain_number(value: Any) -> Any:
    """Return the Python number of a NumPy scalar, for :func:`json.dumps`."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"expected a number, got {value!r}")
