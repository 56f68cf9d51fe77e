"""A file is changed as a whole or not at all, whatever befalls the process."""

from __future__ import annotations

import io
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from dacapo.errors import StorageError
from dacapo.store import whole_changes as module
from dacapo.store.whole_changes import replace_file, whole_changes
from tests.helpers.processes import dying_at, killed, largest_file

OLD = bytes(range(100))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path


def change(file: io.RawIOBase) -> None:
    """Change the middle and the end, add to the end, and leave a gap before that."""
    for begin, content in ((10, b"abc"), (98, b"across"), (12, b"xyz"), (120, b"new"), (121, b"ow"), (0, b"first")):
        file.seek(begin)
        file.write(content)


def changed() -> bytes:
    buffer = io.BytesIO(OLD)
    change(buffer)  # type: ignore[arg-type]
    return buffer.getvalue()


def test_what_is_written_is_read_at_once_and_stored_at_the_end(file: Path) -> None:
    with whole_changes(file) as opened:
        change(opened)
        assert opened.seek(0, os.SEEK_END) == len(changed())
        opened.seek(0)
        assert opened.read() == changed()
        opened.seek(-4, os.SEEK_END)
        assert opened.read(10) == changed()[-4:]
        assert opened.read(10) == b""
        opened.seek(11)
        assert opened.read(3) == changed()[11:14]
        assert opened.tell() == 14
        assert file.read_bytes() == OLD
    assert file.read_bytes() == changed()
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("size", [7, 150])
def test_the_size_is_set(file: Path, size: int) -> None:
    with whole_changes(file) as opened:
        opened.truncate(size)
    assert file.read_bytes() == OLD[:size] + bytes(max(0, size - len(OLD)))


def test_nothing_changes_when_the_block_fails(file: Path) -> None:
    def fail() -> None:
        with whole_changes(file) as opened:
            change(opened)
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        fail()
    assert file.read_bytes() == OLD


def test_a_full_disk_is_an_error_and_changes_nothing_of_what_was_there(file: Path) -> None:
    with largest_file(110), pytest.raises(StorageError, match=r"cannot write .*file.*: File too large"):  # noqa: SIM117
        with whole_changes(file) as opened:
            change(opened)
    assert file.read_bytes()[: len(OLD)] == OLD
    with whole_changes(file) as opened:
        change(opened)
    assert file.read_bytes()[: len(changed())] == changed()


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot write .*absent: No such file"), whole_changes(tmp_path / "absent"):
        pass


@pytest.mark.destructive
def test_a_process_that_dies_at_any_step_leaves_the_old_or_the_new(file: Path) -> None:
    moment, was_killed = 0, True
    found = set()
    while was_killed:
        file.write_bytes(OLD)

        def work(moment: int = moment) -> None:
            dying_at(moment, [(os, "pwrite"), (os, "replace"), (os, "ftruncate"), (module, "remove_file")])
            with whole_changes(file) as opened:
                change(opened)

        was_killed = killed(work)
        with whole_changes(file) as opened:
            found.add(opened.readall()[: len(changed())].rstrip(b"\0"))
        moment += 1
    assert moment > 6
    assert changed() in found
    assert all(content == changed() or content[: len(OLD)] == OLD for content in found)


@pytest.mark.destructive
def test_a_new_file_is_not_changed_like_the_one_before(file: Path) -> None:
    def work() -> None:
        dying_at(1, [(os, "ftruncate"), (module, "remove_file")])
        with whole_changes(file) as opened:
            change(opened)

    assert killed(work)
    assert len(list(file.parent.iterdir())) == 2
    replace_file(file, OLD)
    with whole_changes(file) as opened:
        assert opened.read() == OLD


def test_the_library_of_hdf5_reads_and_writes_through_it(tmp_path: Path) -> None:
    path, values = tmp_path / "a.h5", np.random.default_rng(0).integers(0, 256, (64, 96)).astype(np.uint8)
    with h5py.File(path, "w") as file:
        file.create_dataset("a", values.shape, values.dtype, chunks=(16, 16), compression="gzip")
    for _ in range(2):  # the second time, chunks are replaced by others of other sizes
        for row in range(0, 64, 16):
            with whole_changes(path) as content, h5py.File(content, "r+") as file:
                file["a"][row : row + 16] = values[row : row + 16]
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["a"][...], values)
        values = values // 9
