"""A training that ends, however, leaves no processes and no shared memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_config_store
from tests.helpers.processes import Started, is_alive, wait_for_checkpoint, wait_until
from tests.helpers.runs import affinities_run_config, unet_config

pytestmark = pytest.mark.destructive

SHARED_MEMORY = Path("/dev/shm")
TRAIN = """
import sys
from dacapo.train import train
sys.modules["dacapo.train"].CHECKPOINT_SECONDS = 0
train("run", check=False)
"""


def family(pid: int) -> set[int]:
    """Return the numbers of all processes that a process has started, and that these have."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def segments() -> set[str]:
    """Return the names of segments of shared memory that belong to PyTorch."""
    return {path.name for path in SHARED_MEMORY.glob("torch_*")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_training(options: DaCapoConfig, tmp_path: Path, number: signal.Signals) -> None:
    trainer = TorchTrainerConfig("trainer", 1, 1e-3, num_data_fetchers=2)
    config = affinities_run_config(
        tmp_path, "run", 2, 100_000, 100_000, trainer_config=trainer, architecture_config=unet_config(2)
    )
    create_config_store().store_run_config(config)
    with Started([sys.executable, "-c", TRAIN], stdout=subprocess.DEVNULL) as training:
        wait_for_checkpoint(training, options.runs_base_dir, "run")
        children = family(training.pid)
        assert len(children) >= 2
        os.kill(training.pid, number)
        training.communicate(timeout=60)
        wait_until(lambda: not any(map(is_alive, children)), 30)
        own = {
            name for name in segments() if f"_{training.pid}_" in name or any(f"_{pid}_" in name for pid in children)
        }
        wait_until(lambda: not own & segments(), 30)
