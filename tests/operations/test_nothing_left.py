"""A training that ends, however, leaves no processes and no shared memory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_config_store
from tests.helpers.processes import PATIENCE, Started, is_alive, wait_for_checkpoint, wait_until
from tests.helpers.runs import affinities_run_config, unet_config

pytestmark = pytest.mark.destructive

SHARED_MEMORY = Path("/dev/shm")
TRAIN = """
import sys
from dacapo.train import train
sys.modules["dacapo.train"].CHECKPOINT_SECONDS = 0
train("run", check=False)
"""
TO_THE_END = """
import os
from pathlib import Path
from dacapo.experiments.loggers import Logger
from dacapo.train import train

class Look(Logger):
    def log_iteration(self, run, stats):
        print(Path(f"/proc/self/task/{os.getpid()}/children").read_text(), flush=True)

train("run", check=False, num_iterations=3, loggers=Look())
"""
FAILING_TEST = """
import os
from pathlib import Path
import torch
from dacapo.experiments.fit import check_training
from dacapo.train import load_run

def test_of_a_trainer_that_is_never_left():
    run = load_run("run")
    check_training(run)
    run.trainer.__enter__()
    next(run.trainer.iterate(3, run.model, run.optimizer, torch.device("cpu")))
    print(Path(f"/proc/self/task/{os.getpid()}/children").read_text())
    raise AssertionError("as intended")
"""


def family(pid: int) -> set[int]:
    """Return the numbers of all processes that a process has started, and that these have."""
    parents = {process: int(fields[1]) for process, fields in processes()}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def processes() -> Iterator[tuple[int, list[str]]]:
    """Yield the numbers of all processes, and what the system tells of each, from its state on."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            yield int(stat.parent.name), stat.read_text().rpartition(")")[2].split()


def session(number: int) -> set[int]:
    """Return the processes that still run of a session, which is named after the process that began it."""
    return {process for process, (state, _, _, session, *_) in processes() if int(session) == number and state != "Z"}


def segments() -> set[str]:
    """Return the names of segments of shared memory that belong to PyTorch."""
    return {path.name for path in SHARED_MEMORY.glob("torch_*")}


def check_nothing_is_left(process: Started, children: set[int], temporary: Path) -> None:
    """Wait until the children of a process that has ended are gone, and what they had in common.

    Args:
        process: The process, which began a session.
        children: Some of those that it started.
        temporary: Its folder for temporary files.
    """
    wait_until(lambda: not session(process.pid) and not any(map(is_alive, children)))
    owners = [f"_{pid}_" for pid in (process.pid, *children)]
    own = {name for name in segments() if any(owner in name for owner in owners)}
    wait_until(lambda: not own & segments())
    assert not [path for path in temporary.rglob("*") if path.is_socket()]


@pytest.fixture
def temporary(options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder for the temporary files of processes, which finds a run stored that takes long to train."""
    trainer = TorchTrainerConfig("trainer", 1, 1e-3, num_data_fetchers=2)
    config = affinities_run_config(
        tmp_path, "run", 2, 100_000, 100_000, trainer_config=trainer, architecture_config=unet_config(2)
    )
    create_config_store().store_run_config(config)
    # Names of sockets may have 100 characters only.
    folder = Path(tempfile.mkdtemp(prefix="left_"))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_training(options: DaCapoConfig, temporary: Path, number: signal.Signals) -> None:
    with Started([sys.executable, "-c", TRAIN], stdout=subprocess.DEVNULL) as training:
        wait_for_checkpoint(training, options.runs_base_dir, "run")
        children = family(training.pid)
        assert len(children) >= 2
        os.kill(training.pid, number)
        training.communicate(timeout=PATIENCE)
        check_nothing_is_left(training, children, temporary)


def children_told(output: str) -> set[int]:
    """Return the processes on the lines of an output that have numbers only."""
    lines = [line.split() for line in output.splitlines()]
    return {int(number) for line in lines if line and all(map(str.isdigit, line)) for number in line}


def test_training_to_its_end(temporary: Path) -> None:
    config = create_config_store().retrieve_run_config("run")
    create_config_store().delete_run_config("run")
    config.num_iterations = 2
    create_config_store().store_run_config(config)
    with Started([sys.executable, "-c", TO_THE_END], stdout=subprocess.PIPE) as training:
        output, errors = training.communicate(timeout=PATIENCE)
        assert training.returncode == 0, errors
        children = children_told(output)
        assert len(children) >= 2
        check_nothing_is_left(training, children, temporary)


def test_a_failed_test(temporary: Path, tmp_path: Path) -> None:
    file = tmp_path / "test_failing.py"
    file.write_text(FAILING_TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", file]
    with Started(command, stdout=subprocess.PIPE, cwd=tmp_path) as tests:
        output, _ = tests.communicate(timeout=PATIENCE)
        assert tests.returncode == 1
        assert "AssertionError: as intended" in output, output
        children = children_told(output)
        assert len(children) >= 2
        check_nothing_is_left(tests, children, temporary)
