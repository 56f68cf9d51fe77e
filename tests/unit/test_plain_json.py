"""JSON that would take all the stack, and metadata that is no file, are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dacapo.errors import DacapoError, MetadataError, StorageError
from dacapo.experiments.datasplits.datasets.arrays import open_array
from dacapo.experiments.datasplits.datasets.arrays.places import read_file
from dacapo.experiments.datasplits.datasets.arrays.zarr3_files import update_attributes
from dacapo.store import json_lines
from dacapo.utils import plain_json
from dacapo.utils.plain_json import parse_json
from tests.helpers import formats

DEEP = "[" * 100_000 + "]" * 100_000
VALUES = np.zeros((8, 8, 8), np.uint8)
FILES = [
    (formats.zarr2, "a.zarr/raw/.zarray"),
    (formats.zarr2, "a.zarr/raw/.zattrs"),
    (formats.n5, "a.n5/raw/attributes.json"),
]


@pytest.mark.parametrize("text", [DEEP, "[" * 100_000, '{"a":' * 100_000, "[" * 101 + "]" * 101])
def test_too_many_levels(text: str) -> None:
    for given in (text, text.encode()):
        with pytest.raises(ValueError, match="nested in more than 100 levels"):
            parse_json(given)


def test_as_many_levels_as_allowed() -> None:
    assert str(parse_json("[" * 100 + "]" * 100)) == "[" * 100 + "]" * 100
    assert parse_json(str([[]] * 200)) == [[]] * 200
    assert parse_json('"' + "[" * 200 + '"') == "[" * 200


def test_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_json, "MOST_BYTES", 10)
    with pytest.raises(ValueError, match="11 bytes are more than the 10"):
        parse_json("[1, 2, 3, 4"[:11])
    (tmp_path / ".zattrs").write_text("{" + " " * 20 + "}")
    with pytest.raises(MetadataError, match="22 bytes"):
        read_file(tmp_path / ".zattrs")


@pytest.mark.parametrize(("write", "name"), FILES)
@pytest.mark.parametrize("kind", ["deep", "folder", "dangling", "loop"])
def test_metadata_that_is_none(tmp_path: Path, write: object, name: str, kind: str) -> None:
    write(tmp_path, "raw", VALUES)  # type: ignore[operator]
    file = tmp_path / name
    file.unlink(missing_ok=True)
    if kind == "deep":
        file.write_text(DEEP)
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to(file if kind == "loop" else tmp_path / "nowhere")
    with pytest.raises(DacapoError, match="raw"):
        open_array(file.parents[1], "raw")


def test_change_of_attributes_that_are_none(tmp_path: Path) -> None:
    (tmp_path / ".zattrs").write_text(DEEP)
    with pytest.raises(MetadataError, match="100 levels"):
        update_attributes(tmp_path, dict.clear)
    assert read_file(tmp_path / ".zattrs") == DEEP.encode()


def test_no_entry_on_a_line(tmp_path: Path) -> None:
    file = tmp_path / "stats.jsonl"
    file.write_text(DEEP + '\n{"iteration": 1}\n')
    with pytest.raises(StorageError, match="line 1"):
        json_lines.entries_of(file.read_bytes(), file)
