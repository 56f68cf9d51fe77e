"""Folders that appear complete or not at all, and that are replaced without a moment in which they are missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dacapo.errors import StorageError
from dacapo.store import folders
from tests.helpers.processes import dying_at, killed

NAMES = ("a", "b", "inner/c")


def write(folder: Path, text: str) -> None:
    (folder / "inner").mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_text(text)


def texts(folder: Path) -> set[str]:
    return {(folder / name).read_text() for name in NAMES}


def replace(folder: Path, text: str) -> None:
    with folders.atomic_folder(folder) as new:
        write(new, text)


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_made_and_replaced(tmp_path: Path, can_exchange: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_exchange:
        monkeypatch.setattr(folders, "exchange", lambda first, second: False)
    folder = tmp_path / "above" / "folder"
    for text in ("one", "two"):
        replace(folder, text)
        assert texts(folder) == {text}
        assert os.listdir(folder.parent) == ["folder"]


def test_a_failure_leaves_the_old_folder_and_no_rest(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    replace(folder, "old")

    def fail_midway() -> None:
        with folders.atomic_folder(folder) as new:
            write(new, "new")
            raise KeyError

    with pytest.raises(KeyError):
        fail_midway()
    assert texts(folder) == {"old"}
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_whole_whenever_the_process_that_replaces_it_is_killed(tmp_path: Path, can_exchange: bool) -> None:
    folder, moment, was_killed, missing = tmp_path / "folder", 0, True, 0
    replace(folder, "-1")
    while was_killed:

        def work(moment: int = moment) -> None:
            if not can_exchange:
                folders.exchange = lambda first, second: False  # type: ignore[assignment]
            dying_at(moment, [(folders, "exchange"), (os, "rename"), (os, "unlink"), (os, "rmdir"), (os, "mkdir")])
            replace(folder, str(moment))

        was_killed = killed(work)
        missing += not folder.exists()
        folders.recover_folder(folder)
        found = texts(folder)
        assert found <= {str(moment), str(moment - 1)}
        assert len(found) == 1
        replace(folder, str(moment))  # the next call goes on whatever is left
        moment += 1
    assert moment > 5
    assert missing == (not can_exchange)
    assert os.listdir(tmp_path) == ["folder"]


def test_what_cannot_be_replaced_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    with pytest.raises(StorageError, match=rf"cannot create the folder {file}"):
        replace(file / "folder", "new")
    with pytest.raises(StorageError, match=rf"cannot remove {file}"):
        folders.remove_folder(file)
    with pytest.raises(StorageError, match=rf"cannot replace {file}.*No such file"):
        folders.exchange(tmp_path / "missing", file)
