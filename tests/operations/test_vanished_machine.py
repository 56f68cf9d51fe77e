"""Ranks whose other machine vanishes end soon; the machines are network namespaces."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.namespaces import Hosts, two_hosts
from tests.helpers.processes import PATIENCE, Started, wait_until

pytestmark = pytest.mark.destructive

RANK = """
import sys, time
from pathlib import Path
from dacapo.utils import distributed, presence

presence.IDLE, presence.INTERVAL, presence.PROBES = 1, 1, 3
with distributed.process_group():
    distributed.barrier()
    Path(sys.argv[1]).touch()
    if distributed.rank() == 0:
        time.sleep(3600)  # it validates, or waits for data
    distributed.barrier()
"""


def test_ranks_end_without_the_machine_of_another(tmp_path: Path) -> None:
    with two_hosts() as hosts:
        started = [start(hosts, rank, tmp_path / str(rank)) for rank in (0, 1)]
        with started[0] as first, started[1] as second:
            wait_until(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists())
            hosts.vanish()
            for process, other in ((first, 1), (second, 0)):
                _, errors = process.communicate(timeout=PATIENCE)
                assert process.returncode == 1
                assert f"the machine of rank {other} has not answered for 4 seconds" in errors


def start(hosts: Hosts, rank: int, ready: Path) -> Started:
    group = {"WORLD_SIZE": 2, "RANK": rank, "MASTER_ADDR": hosts.addresses[0], "MASTER_PORT": 23456}
    variables = {**group, "GLOO_SOCKET_IFNAME": hosts.interfaces[rank], "OMP_NUM_THREADS": 1}
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    command = ["ip", "netns", "exec", hosts.names[rank], sys.executable, "-c", RANK, ready]
    return Started(command, stdout=subprocess.DEVNULL, env=environment)
