"""Only one process trains a run at a time, and a process that is gone does not keep others from it."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import attrs
import pytest

from dacapo.errors import RunInUseError, StorageError
from dacapo.experiments import replace_config
from dacapo.experiments.run import Run
from dacapo.options import DaCapoConfig, Options
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.store.training_lock import FILE, training_lock
from dacapo.train import train
from dacapo.validate import validate
from tests.helpers.processes import PATIENCE, Started, is_alive, wait_until
from tests.helpers.runs import affinities_run_config, dummy_run_config

pytestmark = pytest.mark.destructive

NAME = "affinities"


def prepare(base: Path, folder: Path, fetchers: int = 1) -> None:
    """Store a run that takes long enough to be met, with processes that make its batches."""
    config = affinities_run_config(folder, NAME, 2, num_iterations=10**6, validation_interval=10**6)
    trainer = attrs.evolve(config.trainer_config, num_data_fetchers=fetchers)
    split = attrs.evolve(config.datasplit_config, validate_configs=[])
    Options.instance(runs_base_dir=base)
    create_config_store().store_run_config(attrs.evolve(config, trainer_config=trainer, datasplit_config=split))


def start(base: Path) -> Started:
    return Started([sys.executable, "-m", "dacapo", "--runs-dir", base, "train", NAME])


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_second_training_is_refused_and_a_dead_one_is_not_in_the_way(options: DaCapoConfig, tmp_path: Path) -> None:
    prepare(tmp_path / "runs", tmp_path, fetchers=2)
    lock = tmp_path / "runs" / NAME / FILE
    with start(tmp_path / "runs") as first:
        wait_until(lambda: lock.is_file() and lock.read_bytes() and len(children(first.pid)) >= 2)
        with start(tmp_path / "runs") as second:
            _, errors = second.communicate(timeout=PATIENCE)
        assert second.returncode == 1
        told = json.loads(lock.read_text())
        assert told["pid"] == first.pid
        who = f"process {first.pid} of {told['user']} on {socket.gethostname()} since {told['since']}"
        assert f"Error: run '{NAME}' is being trained by {who}; wait for it, or end it" in errors
        with pytest.raises(RunInUseError, match=who):
            train(NAME)
        assert first.poll() is None

        fetchers = children(first.pid)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        # Whether or not the processes that it forked have noticed.
        with training_lock(NAME):
            assert json.loads(lock.read_text())["pid"] == os.getpid()
        assert not lock.exists()
    assert fetchers
    wait_until(lambda: not any(map(is_alive, fetchers)))


def test_forked_processes_do_not_keep_the_lock(options: DaCapoConfig) -> None:
    reader, writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        with training_lock("run"):
            child = os.fork()
            if child == 0:
                os.setpgid(0, 0)
                signal.pause()
            os.write(writer, b"%d\n" % child)
            signal.pause()
        os._exit(0)
    with os.fdopen(reader) as lines:
        child = int(lines.readline())
    os.close(writer)
    try:
        with pytest.raises(RunInUseError, match=f"process {holder} "), training_lock("run"):
            pass
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        assert is_alive(child)
        with training_lock("run"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_process_can_train_a_run_once_at_a_time(options: DaCapoConfig) -> None:
    found: list[str] = []

    def train_too() -> None:
        try:
            train("dummy")
        except RunInUseError as error:
            found.append(str(error))

    create_config_store().store_run_config(dummy_run_config())
    with training_lock("dummy"):
        for _ in range(2):  # the attempt itself does not release it
            thread = threading.Thread(target=train_too)
            thread.start()
            thread.join()
        with pytest.raises(RunInUseError):
            replace_config(dummy_run_config(num_iterations=30))
    assert len(found) == 2
    assert f"process {os.getpid()} of " in found[0]
    train("dummy")
    train("dummy")
    assert not (options.runs_base_dir / "dummy" / FILE).exists()


def test_a_run_in_use_is_not_changed_beside(options: DaCapoConfig, tmp_path: Path) -> None:
    config = affinities_run_config(tmp_path, NAME, dims=2, num_iterations=2, validation_interval=2)
    create_config_store().store_run_config(config)
    run = train(NAME)
    with training_lock(NAME):
        for change in (
            lambda: run.lengthen(4),
            lambda: train(NAME, num_iterations=4),
            lambda: replace_config(attrs.evolve(config, num_iterations=4)),
            lambda: validate(NAME, 2),
        ):
            with pytest.raises(RunInUseError, match=f"'{NAME}' is being trained by process {os.getpid()} "):
                change()
    assert run.train_until == create_config_store().retrieve_run_config(NAME).num_iterations == 2
    with training_lock(NAME, use="validated"), pytest.raises(RunInUseError, match="is being validated by"):
        train(NAME)
    assert run.lengthen(4).train_until == 4
    assert create_config_store().retrieve_run_config(NAME).num_iterations == 4
    validate(NAME, 2)


def test_a_run_that_is_stored_nowhere_is_lengthened_too(options: DaCapoConfig) -> None:
    assert Run(dummy_run_config()).lengthen(30).train_until == 30
    assert not (options.runs_base_dir / "dummy").exists()


def test_a_holder_that_says_nothing_yet(options: DaCapoConfig) -> None:
    path = options.runs_base_dir / "run" / FILE
    path.parent.mkdir(parents=True)
    path.touch()
    reader, writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        handle = os.open(path, os.O_RDWR)
        fcntl.lockf(handle, fcntl.LOCK_EX)
        os.write(writer, b"!")
        signal.pause()
    os.read(reader, 1)
    try:
        with pytest.raises(RunInUseError, match="is being trained by another process"), training_lock("run"):
            pass
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)


def test_without_locks_a_warning_says_so(
    options: DaCapoConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuses)  # what such a file system answers
    create_config_store().store_run_config(dummy_run_config())
    with caplog.at_level(logging.WARNING):
        train("dummy")
    told = "has no locks (No locks available): make sure that no other process trains or changes run 'dummy'"
    assert told in caplog.text
    assert create_weights_store().latest_iteration("dummy") == 20
    monkeypatch.setattr(fcntl, "lockf", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(StorageError, match=r"cannot lock .*training\.lock: Input/output error"):
        train("dummy")


def test_nothing_is_left_of_a_run_that_could_not_begin(options: DaCapoConfig) -> None:
    with pytest.raises(KeyError), training_lock("run"):
        raise KeyError("no data")
    assert not (options.runs_base_dir / "run").exists()
