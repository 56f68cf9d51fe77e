"""Workers on another host than the process that hands out the blocks; the hosts are network namespaces."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.namespaces import ADDRESSES, two_hosts
from tests.helpers.processes import PATIENCE

pytestmark = pytest.mark.destructive

# Runs each job on the other host, as a cluster would.
BSUB = """#!{python}
import argparse, subprocess, sys
parser = argparse.ArgumentParser()
parser.add_argument("-K", action="store_true", required=True)
for option in ("-q", "-n", "-J", "-o"):
    parser.add_argument(option)
parser.add_argument("command", nargs=argparse.REMAINDER)
job = parser.parse_args()
with open(job.o, "a") as output:
    command = ["ip", "netns", "exec", "{host}", "sh", "-c", " ".join(job.command)]
    sys.exit(subprocess.run(command, stdout=output, stderr=output).returncode)
"""

WORKER = """
import pathlib, subprocess

def process_block(block, out):
    addresses = subprocess.run(["ip", "-o", "-4", "address"], capture_output=True, text=True, check=True).stdout
    pathlib.Path(out, str(block.write_roi.begin[0])).write_text(addresses)
"""

PARENT = """
import sys
from funlib.geometry import Roi
from dacapo.blockwise import run_blockwise
from dacapo.options import Options

if __name__ == "__main__":
    worker, out, *host = sys.argv[1:]
    config = {"num_gpus": 0, "num_cpus": 1, **({"host": host[0]} if host else {})}
    Options.instance(compute_context={"type": "Bsub", "config": config})
    block = Roi((0,), (1,))
    run_blockwise(worker, Roi((0,), (6,)), block, block, num_workers=2, max_retries=0, out=out)
"""

SCHEDULER, WORKERS = ADDRESSES


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two hosts with a cable between them, and no other network."""
    with two_hosts() as both:
        yield both.names


def _run(folder: Path, hosts: tuple[str, str], *host: str) -> subprocess.CompletedProcess[str]:
    for name, text in (("worker.py", WORKER), ("parent.py", PARENT)):
        (folder / name).write_text(text)
    (folder / "out").mkdir()
    (folder / "bin").mkdir()
    bsub = folder / "bin" / "bsub"
    bsub.write_text(BSUB.format(python=sys.executable, host=hosts[1]))
    bsub.chmod(0o755)
    parent = [sys.executable, str(folder / "parent.py"), str(folder / "worker.py"), str(folder / "out"), *host]
    return subprocess.run(
        ["ip", "netns", "exec", hosts[0], *parent],
        cwd=folder,
        env={**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_workers_reach_the_scheduler_over_the_network(tmp_path: Path, hosts: tuple[str, str]) -> None:
    done = _run(tmp_path, hosts, SCHEDULER)
    assert done.returncode == 0, done.stderr
    written = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in written] == [str(block) for block in range(6)]
    for file in written:
        assert WORKERS in file.read_text()
        assert SCHEDULER not in file.read_text()


def test_unreachable_scheduler_is_an_error_that_says_what_to_set(tmp_path: Path, hosts: tuple[str, str]) -> None:
    # Without a route to anywhere no address is found out, so workers are told to look on their own machine.
    done = _run(tmp_path, hosts)
    assert done.returncode != 0
    assert "no worker reached the process that hands out the blocks" in done.stderr
    assert "as its host" in done.stderr
    assert not list((tmp_path / "out").iterdir())
