"""The logs that Weights & Biases keeps offline, as rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

# The format is that of LevelDB's logs: parts of records, in blocks that none crosses, behind a header of the file.
BLOCK, FILE_HEADER, PART_HEADER = 32768, 7, 7
LAST = (1, 4)  # kinds of parts that end a record


def history_of(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the run and the row of each step in the offline logs below a folder."""
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for content in _records(file.read_bytes()):
            record = Record.FromString(content)
            if record.WhichOneof("record_type") == "history":
                row = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
                yield file.stem.removeprefix("run-"), {**row, "step": str(record.history.step.num)}


def _records(content: bytes) -> Iterator[bytes]:
    place, parts = FILE_HEADER, b""
    while place + PART_HEADER <= len(content):
        if BLOCK - place % BLOCK < PART_HEADER:  # filled up
            place += BLOCK - place % BLOCK
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        parts += content[place + PART_HEADER : place + PART_HEADER + length]
        place += PART_HEADER + length
        if kind in LAST:
            yield parts
            parts = b""
