"""Ranks that wait for others that never start, or that have ended, end soon."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch.distributed as dist

from tests.helpers.processes import PATIENCE, Started

ALONE = """
from datetime import timedelta
from dacapo.utils import distributed

distributed.JOIN = timedelta(seconds=3)
with distributed.process_group():
    raise AssertionError("the other rank never started")
"""

# Rank 0 dies; rank 1 stands for one that waits for a third rank, and so does not notice.
LEFT = """
import os, time
from dacapo.utils import distributed, presence

presence.GRACE = 1
with distributed.process_group():
    distributed.barrier()
    if distributed.rank() == 0:
        os._exit(3)
    time.sleep(3600)
"""


def start(script: str, store: dist.TCPStore, rank: int, **more: str) -> Started:
    group = {"WORLD_SIZE": 2, "RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port, "OMP_NUM_THREADS": 1}
    variables = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0", **group, **more}
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    return Started([sys.executable, "-c", script], stdout=subprocess.DEVNULL, env=environment)


@pytest.fixture
def store() -> dist.TCPStore:
    """A store that a launcher hosts."""
    return dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_does_not_wait_long_for_others_to_start(store: dist.TCPStore, rank: int) -> None:
    with start(ALONE, store, rank) as process:
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert f"not all of 2 ranks have met at 127.0.0.1:{store.port} within 0.05 minutes" in errors


def test_a_rank_ends_after_rank_0(store: dist.TCPStore) -> None:
    with start(LEFT, store, 0) as first, start(LEFT, store, 1) as second:
        assert first.wait(PATIENCE) == 3
        _, errors = second.communicate(timeout=PATIENCE)
    assert second.returncode == 1
    assert "rank 0 has ended; this rank cannot go on without it and ends" in errors
