"""Jobs of workers end before the work is done, as those of a cluster do when their time is over."""

from __future__ import annotations

from pathlib import Path

import pytest
from funlib.geometry import Roi

from dacapo import run_blockwise
from dacapo.options import DaCapoConfig, Options

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


def run(folder: Path, worker: str, blocks: int, max_retries: int = 0, **kwargs: object) -> dict[int, str]:
    """Run blocks in one worker process at a time; returns what each wrote into its file."""
    (folder / "worker.py").write_text(worker)
    (folder / "out").mkdir()
    total = Roi((0,), (blocks,))
    arguments = {"folder": folder / "out", "log_dir": folder / "logs", **kwargs}
    assert run_blockwise(folder / "worker.py", total, BLOCK, BLOCK, 1, max_retries, **arguments)  # type: ignore[arg-type]
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
