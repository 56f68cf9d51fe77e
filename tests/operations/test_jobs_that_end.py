"""Jobs of workers end before the work is done, as those of a cluster do when their time is over."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from threading import Thread

import pytest
from funlib.geometry import Roi

from dacapo import run_blockwise
from dacapo.blockwise.worker.lifetime import end_with
from dacapo.compute_context import create_compute_context
from dacapo.options import DaCapoConfig, Options
from dacapo.utils.signals import interrupt_main_thread
from tests.helpers.cluster import install_queue
from tests.helpers.processes import wait_until

pytestmark = pytest.mark.destructive

BLOCK = Roi((0,), (1,))

# Each process is killed at its second block, if that is the first attempt at it.
KILLED_AT_THE_SECOND = """
import os, signal
from pathlib import Path

done = 0

def process_block(block, folder):
    global done
    file = Path(folder, str(block.write_roi.begin[0]))
    if done == 1 and not file.exists():
        file.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    done += 1
    with file.open("a") as handle:
        handle.write("done ")
"""


def run(
    folder: Path, worker: str, blocks: int, max_retries: int = 0, workers: int = 1, **kwargs: object
) -> dict[int, str]:
    """Run blocks in worker processes; returns what each wrote into its file."""
    (folder / "worker.py").write_text(worker)
    (folder / "out").mkdir()
    total = Roi((0,), (blocks,))
    arguments = {"folder": folder / "out", "log_dir": folder / "logs", **kwargs}
    assert run_blockwise(folder / "worker.py", total, BLOCK, BLOCK, workers, max_retries, **arguments)  # type: ignore[arg-type]
    return {int(file.name): file.read_text() for file in (folder / "out").iterdir()}


@pytest.fixture
def in_processes(options: DaCapoConfig) -> None:
    """Let even a single worker have a process of its own."""
    Options.instance(compute_context={"type": "LocalTorch", "config": {"distribute_workers": True}})


@pytest.mark.usefixtures("in_processes")
def test_a_worker_that_did_a_block_is_always_replaced(tmp_path: Path) -> None:
    # Three workers die; before, the third was one too many for a single worker and a single retry.
    assert run(tmp_path, KILLED_AT_THE_SECOND, 6, max_retries=1) == dict.fromkeys(range(6), "done ")
    (log,) = (tmp_path / "logs").glob("*/worker_*.log")
    assert log.read_text().count("another worker takes its place") == 3


# The third block ends the job at the first attempt: with a signal, and if that is not heard in time by force.
ENDED_AT_THE_THIRD = """
import hashlib, os, signal, threading, time
from pathlib import Path

def kill_once_noted(log_dir, number):
    while not list(Path(log_dir).glob(f"*/handed_back_{number}")):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

def process_block(block, folder, number, busy, logs):
    file = Path(folder, str(block.write_roi.begin[0]))
    if block.write_roi.begin[0] == 2 and not file.exists():
        file.touch()
        if busy:  # in compiled code, so that no handler runs
            threading.Thread(target=kill_once_noted, args=(logs, block.block_id[1])).start()
            threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2 * 10**9)
        try:
            os.kill(os.getpid(), number)
            time.sleep(600)
        except Exception:
            raise AssertionError("the interrupt is none of these")
    with file.open("a") as handle:
        handle.write(f"done by {os.getpid()}")
"""


@pytest.mark.usefixtures("in_processes")
@pytest.mark.parametrize(
    ("number", "max_retries"), [(signal.SIGTERM, 0), (signal.SIGUSR2, 1)], ids=["SIGTERM", "SIGUSR2"]
)
def test_a_block_is_handed_back(tmp_path: Path, number: signal.Signals, max_retries: int) -> None:
    arguments = {"number": int(number), "busy": False, "logs": str(tmp_path)}
    blocks = run(tmp_path, ENDED_AT_THE_THIRD, 5, max_retries, **arguments)
    assert sorted(blocks) == [0, 1, 2, 3, 4]
    assert all(text.startswith("done by ") and text.count("done") == 1 for text in blocks.values())
    assert blocks[0] == blocks[1] != blocks[2], "another worker did the block"
    (folder,) = (tmp_path / "logs").iterdir()
    text = "".join(file.read_text() for file in folder.glob("worker_*.log"))
    assert text.strip() == f"INFO: it got {number.name}, so block [2:3] (1) is handed back; 2 blocks were done here"
    assert [file.name for file in folder.iterdir() if file.is_file()] == ["worker_0.log"], "nothing failed"


# So does Slurm when the time of a job is over: the second signal may come while the process ends.
TOLD_AGAIN_AT_THE_END = """
import atexit, os, signal
from pathlib import Path

def process_block(block, folder):
    file = Path(folder, str(block.write_roi.begin[0]))
    if block.write_roi.begin[0] == 1 and not file.exists():
        file.touch()
        atexit.register(os.kill, os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    with file.open("a") as handle:
        handle.write("done ")
"""


@pytest.mark.usefixtures("in_processes")
def test_a_worker_that_leaves_is_told_so_again(tmp_path: Path) -> None:
    assert run(tmp_path, TOLD_AGAIN_AT_THE_END, 3) == dict.fromkeys(range(3), "done ")
    (log,) = (tmp_path / "logs").glob("*/worker_*.log")
    assert log.read_text().strip() == "INFO: it got SIGTERM, so block [1:2] (1) is handed back; 1 blocks were done here"


@pytest.mark.usefixtures("in_processes")
def test_a_block_that_cannot_be_interrupted_is_handed_back(tmp_path: Path) -> None:
    arguments = {"number": int(signal.SIGTERM), "busy": True, "logs": str(tmp_path / "logs")}
    blocks = run(tmp_path, ENDED_AT_THE_THIRD, 5, 0, **arguments)
    assert sorted(blocks) == [0, 1, 2, 3, 4]
    assert all(text.count("done") == 1 for text in blocks.values())


DONE_WHILE_A_JOB_WAITS = """
import os, time
from pathlib import Path

def process_block(block, folder):
    while not os.path.exists(os.environ["JOB_RECORD"] + "_waits"):
        time.sleep(0.01)
    Path(folder, str(block.write_roi.begin[0])).write_text("done ")
"""
QUEUES = [("Slurm", "srun", "scancel"), ("Bsub", "bsub", "bkill")]


def test_jobs_that_wait_when_all_is_done_are_cancelled(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Before, the call waited until the cluster had room for jobs that found nothing to do.
    record = install_queue(tmp_path, monkeypatch, "bsub", "bkill")
    Options.instance(compute_context={"type": "Bsub", "config": {"num_gpus": 0, "host": "127.0.0.1"}})
    assert run(tmp_path, DONE_WHILE_A_JOB_WAITS, 3, workers=2) == dict.fromkeys(range(3), "done ")
    assert record.read_text().splitlines() == ["terminated", "bkill 4711"]


@pytest.mark.parametrize(("name", "submit", "cancel"), QUEUES, ids=["Slurm", "Bsub"])
def test_a_call_that_ends_cancels_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, submit: str, cancel: str
) -> None:
    record = install_queue(tmp_path, monkeypatch, submit, cancel)
    log = tmp_path / "worker_1.log"

    def interrupt() -> None:
        wait_until(lambda: log.exists() and "4711" in log.read_text())
        interrupt_main_thread(signal.SIGTERM)

    Thread(target=interrupt).start()
    context = create_compute_context(DaCapoConfig(compute_context={"type": name}))
    with end_with(os.getpid()), pytest.raises(SystemExit):
        context.execute([sys.executable, "-c", ""], log)
    assert record.read_text().splitlines() == ["terminated", f"{cancel} 4711"]
