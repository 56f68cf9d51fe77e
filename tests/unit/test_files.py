"""Files that appear complete or not at all."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from dacapo.errors import StorageError
from dacapo.store import files
from tests.helpers.processes import largest_file


def test_written_text_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "text"
    files.write_text(path, "häß\n")
    assert files.read_text(path) == "häß\n"
    files.write_bytes(path, b"\x00")
    assert files.read_bytes(path) == b"\x00"
    assert os.listdir(path.parent) == ["text"]


def test_a_failure_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_text(path, "old")

    def fail_midway() -> None:
        with files.atomic_write(path) as file:
            file.write(b"half of the n")
            raise KeyError

    with pytest.raises(KeyError):
        fail_midway()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_nothing_is_there_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with files.atomic_path(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".partial"
    assert path.read_text() == "new"


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    files.write_text(link, "new")
    assert target.read_text() == "old"
    assert link.read_text() == "new"
    assert not link.is_symlink()


def test_readers_never_see_a_part(tmp_path: Path) -> None:
    path, done, seen = tmp_path / "file", threading.Event(), set()
    contents = [letter * 100_000 for letter in "ab"]
    files.write_text(path, contents[0])

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(30):
        files.write_text(path, contents[turn % 2])
    done.set()
    reader.join()
    assert seen <= set(contents)


def test_others_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    path = tmp_path / "file"
    old = os.umask(0o022)
    try:
        files.write_text(path, "shared")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(StorageError, match=rf"cannot write {tmp_path}/folder"):
        files.write_text(tmp_path / "folder", "text")
    assert os.listdir(tmp_path) == ["folder"]


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=rf"cannot create the folder {tmp_path}/file/sub: Not a directory"):
        files.make_folder(tmp_path / "file" / "sub")


def test_what_cannot_be_read_or_removed(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(StorageError, match=rf"cannot read {missing}: No such file"):
        files.read_text(missing)
    with pytest.raises(OSError, match=rf"cannot remove {missing}"):
        files.remove_file(missing)
    files.remove_file(missing, missing_ok=True)
    missing.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(StorageError, match="not UTF-8"):
        files.read_text(missing)
    files.remove_file(missing)
    assert not missing.exists()


@pytest.mark.destructive
def test_no_space_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_text(path, "old")
    with largest_file(1000), pytest.raises(StorageError, match=rf"cannot write {path}: File too large"):
        files.write_bytes(path, b"x" * 100_000)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EACCES, "permissions"),
        (errno.EROFS, "mounted read-only"),
        (errno.ENOENT, "check the path"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "the disk may be failing"),
        (errno.ESTALE, "file server"),
        (errno.EINVAL, ""),
    ],
)
def test_advice_fits_the_cause(number: int, advice: str) -> None:
    cause = os.strerror(number)
    message = str(files.storage_error("read", Path("a/b"), OSError(number, cause)))
    head, _, tail = message.partition(f"cannot read a/b: {cause}")
    assert not head
    assert advice in tail
    assert bool(tail) == bool(advice)
    assert ("space" in tail) == (number in (errno.ENOSPC, errno.EDQUOT))


def test_an_error_without_a_number_is_told_as_it_is() -> None:
    assert str(files.storage_error("write", Path("a"), OSError("interrupted"))) == "cannot write a: interrupted"
