"""Stores whose folders can no longer be read or written say so; they never take them for empty."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dacapo.errors import StorageError
from dacapo.options import DaCapoConfig
from dacapo.store import files
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.store.early_end import read_early_end
from dacapo.store.session_records import read_records
from dacapo.store.training_lock import FILE, training_lock
from tests.helpers.processes import largest_file

READERS: dict[str, tuple[str, Callable[[], Any]]] = {
    "names of configs": ("configs/runs", lambda: create_config_store().retrieve_run_config_names()),
    "a config": ("configs/runs", lambda: create_config_store().retrieve_run_config("run")),
    "training statistics": ("stats/training_stats", lambda: create_stats_store().retrieve_training_stats("run")),
    "scores": ("stats/validation_scores", lambda: create_stats_store().retrieve_validation_iteration_scores("run")),
    "names of runs": ("stats/training_stats", lambda: create_stats_store().run_names()),
    "the latest checkpoint": ("run/checkpoints", lambda: create_weights_store().latest_iteration("run")),
    "a checkpoint": ("run/checkpoints", lambda: create_weights_store().retrieve_weights("run", 1)),
    "the best checkpoint": ("run/checkpoints", lambda: create_weights_store().retrieve_best("run", "data", "voi")),
    "datasets with a best": ("run/checkpoints", lambda: create_weights_store().best_datasets("run", "voi")),
    "the recorded config": ("run/checkpoints", lambda: create_weights_store().recorded_config("run")),
    "records of sessions": ("run/sessions", lambda: read_records("run")),
    "an early end": ("run", lambda: read_early_end("run", 1)),
}


@pytest.mark.parametrize("name", READERS)
def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(options: DaCapoConfig, name: str) -> None:
    place, read = READERS[name]
    folder = Path(options.runs_base_dir) / place
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(folder.name)  # a loop, which not even root can follow
    with pytest.raises(StorageError, match=rf"cannot read.*{folder}"):
        read()


def test_a_file_whose_folder_is_lost_while_it_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "folder"

    def write() -> None:
        with files.atomic_write(folder / "file") as file:
            file.write(b"text")
            shutil.rmtree(folder)
            folder.write_text("something else")

    with pytest.raises(StorageError, match=rf"cannot write {folder}/file"):
        write()


@pytest.mark.destructive
def test_a_lock_that_cannot_be_written(options: DaCapoConfig) -> None:
    refused = pytest.raises(StorageError, match=rf"cannot write .*/run/{FILE}: File too large")
    with largest_file(0), refused, training_lock("run"):
        pass
    with training_lock("run"):
        pass


def test_a_lock_whose_folder_is_lost_hides_no_error(
    options: DaCapoConfig, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def work() -> None:
        with training_lock("run"):
            folder = Path(options.runs_base_dir) / "run"
            folder.rename(tmp_path / "elsewhere")
            folder.write_text("something else")
            raise KeyError("the error of the work")

    with pytest.raises(KeyError, match="the error of the work"):
        work()
    assert f"{FILE} cannot be removed: Not a directory" in caplog.text


@pytest.mark.destructive
def test_errors_of_the_system_name_the_file_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "file"
    too_large = pytest.raises(StorageError, match=r"cannot read or write .*: File too large; raise")
    with largest_file(100), too_large, files.storage_errors(), open(path, "wb") as file:
        file.write(bytes(1000))
    missing = pytest.raises(StorageError, match=rf"cannot read or write {tmp_path}/missing: No such file")
    with missing, files.storage_errors():
        (tmp_path / "missing").read_bytes()
    source = tmp_path / "source"
    source.mkdir()
    (source / "link").symlink_to("nowhere")
    copied = pytest.raises(StorageError, match=rf"cannot copy {source}/link to {tmp_path}/copy/link: .*No such file")
    with copied, files.storage_errors():
        shutil.copytree(source, tmp_path / "copy")


def test_errors_of_connections_stay_what_they_are() -> None:
    with pytest.raises(ConnectionResetError), files.storage_errors():
        raise ConnectionResetError(104, "reset")
    with pytest.raises(OSError, match="no file at all") as raised, files.storage_errors():
        raise OSError("no file at all")
    assert type(raised.value) is OSError
