"""Workers, and a training, as jobs of a real Slurm, where its programs are installed."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Roi

from dacapo import run_blockwise
from dacapo.apply import apply_run
from dacapo.blockwise.worker.starter import search_path
from dacapo.compute_context import ComputeContext, create_compute_context
from dacapo.errors import BlockwiseError
from dacapo.experiments.tasks.post_processors import WatershedPostProcessor, WatershedPostProcessorParameters
from dacapo.options import DaCapoConfig, Options
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store, create_weights_store
from tests.helpers.markdown import scripts
from tests.helpers.processes import PATIENCE, Started, wait_until
from tests.helpers.runs import dummy_run_config, stored_run
from tests.helpers.slurm import NODES, ask, cluster, is_installed
from tests.helpers.volumes import new_volume, stored_values

pytestmark = pytest.mark.destructive

PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"
JOB = {"num_gpus": 0, "num_cpus": 1, "memory": "300MB", "time": "0:10:00", "host": "127.0.0.1"}
BLOCK = Roi((0,), (1,))

# Blocks from the given one on wait as long as there is a file "wait".
WORKER = """
import os, time
from pathlib import Path

def process_block(block, folder, waits_from=10**6):
    number = block.write_roi.begin[0]
    job = os.environ["SLURM_JOB_ID"]
    (Path(folder) / f"begun_{number}_{job}").touch()
    while number >= waits_from and (Path(folder) / "wait").exists():
        time.sleep(0.02)
    names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "OMP_NUM_THREADS", "GREETING")
    (Path(folder) / f"done_{number}").write_text(",".join(os.environ.get(name, "") for name in names))
"""

CALL = """
import sys
from pathlib import Path
from funlib.geometry import Roi
from dacapo import run_blockwise
from dacapo.options import Options

folder, config, waits_from = Path(sys.argv[1]), eval(sys.argv[2]), int(sys.argv[3])
Options.instance(compute_context={"type": "Slurm", "config": config})
block = Roi((0,), (1,))
arguments = {"folder": folder, "waits_from": waits_from, "log_dir": folder / "logs"}
run_blockwise(folder / "worker.py", Roi((0,), (4,)), block, block, 2, 1, **arguments)
"""


@pytest.fixture(scope="module")
def variables() -> Iterator[dict[str, str]]:
    """The environment of a cluster; the test is skipped where none can be started."""
    if not is_installed():
        pytest.skip("needs the programs of Slurm and munge")
    with cluster() as environment:
        yield environment


@pytest.fixture(autouse=True)
def slurm(variables: dict[str, str], options: DaCapoConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cluster without jobs."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    yield
    ask("scancel", "--full", "--signal=KILL", *jobs())
    ask("scancel", *jobs())
    wait_until(lambda: not jobs())


def jobs(*options: str) -> list[str]:
    """Return the ids of all jobs, or of those that options of squeue select."""
    return ask("squeue", "--noheader", "--format=%i", *options).split()


def context(**fields: object) -> ComputeContext:
    return create_compute_context(DaCapoConfig(compute_context={"type": "Slurm", "config": {**JOB, **fields}}))


def run(folder: Path, **fields: object) -> dict[int, list[str]]:
    """Run four blocks on two workers; returns what each block wrote."""
    (folder / "worker.py").write_text(WORKER)
    Options.instance(compute_context={"type": "Slurm", "config": {**JOB, **fields}})
    run_blockwise(folder / "worker.py", Roi((0,), (4,)), BLOCK, BLOCK, 2, 0, folder=folder, log_dir=folder / "logs")
    return written(folder)


def written(folder: Path) -> dict[int, list[str]]:
    return {int(file.name.removeprefix("done_")): file.read_text().split(",") for file in folder.glob("done_*")}


def started(folder: Path, waits_from: int) -> Started:
    """Start a call of four blocks on two workers, of which some wait."""
    (folder / "worker.py").write_text(WORKER)
    (folder / "wait").touch()
    words = [sys.executable, "-c", CALL, str(folder), repr(JOB), str(waits_from)]
    return Started(words, env=environment())


def environment() -> dict[str, str]:
    """Return the environment for a Python that finds what this one does."""
    return {**os.environ, "PYTHONPATH": search_path()}


def begun(folder: Path, number: int) -> list[str]:
    """Return the jobs that have begun a block."""
    return [file.name.rpartition("_")[2] for file in folder.glob(f"begun_{number}_*")]


class TestJobs:
    def test_all_blocks_are_done_by_jobs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        blocks = run(tmp_path, num_cpus=3, environment_setup=["export GREETING='hello  you'"])
        assert sorted(blocks) == [0, 1, 2, 3]
        assert all(job.isdigit() for job, *_ in blocks.values())
        assert {(threads, greeting) for _, _, threads, greeting in blocks.values()} == {("3", "hello  you")}
        assert not jobs()

    def test_exit_code_and_output(self) -> None:
        with pytest.raises(BlockwiseError, match=r"exit code 3; its output ends:\nno licence\n$"):
            context().execute(["bash", "-c", "echo no licence >&2; exit 3"])

    def test_limits_of_the_job(self, tmp_path: Path) -> None:
        log = tmp_path / "worker_5.log"
        context(num_gpus=2, queue="gpu").execute(["bash", "-c", "scontrol show job $SLURM_JOB_ID"], log)
        shown = set(log.read_text().split())
        assert {"JobName=dacapo_worker_5", "TimeLimit=00:10:00", "MinMemoryNode=300M", "CPUs/Task=1"} <= shown
        assert {"Partition=gpu", "TresPerNode=gres:gpu:2"} <= shown

    @pytest.mark.parametrize(
        ("fields", "cause"),
        [
            ({"queue": "nosuch"}, "Invalid partition name specified"),
            ({"memory": "64GB"}, "Requested node configuration is not available"),
            ({"extra_flags": ["--nosuch"]}, "unrecognized option '--nosuch'"),
            ({"environment_setup": ["module load nosuch"]}, "module: command not found"),
        ],
        ids=["partition", "memory", "flag", "setup"],
    )
    def test_an_error_tells_the_cause(self, tmp_path: Path, fields: dict[str, object], cause: str) -> None:
        with pytest.raises(BlockwiseError, match=rf"4 of 4 blocks are not done.*\n.*{cause} \("):
            run(tmp_path, **fields)

    def test_why_jobs_wait(self) -> None:
        ask("scontrol", "update", f"nodename={','.join(NODES)}", "state=drain", "reason=test")
        try:
            (job,) = re.findall(r"\d+", ask("sbatch", "--output=/dev/null", "--wrap=true"))
            (held,) = re.findall(r"\d+", ask("sbatch", "--output=/dev/null", "--hold", "--wrap=true"))
            wait_until(lambda: "drain" in context().waiting_jobs().get(job, "").lower())
            assert context().waiting_jobs()[held] == "JobHeldUser"
        finally:
            ask("scontrol", "update", f"nodename={','.join(NODES)}", "state=resume")


class TestInterruptions:
    def test_a_job_that_is_cancelled_hands_its_block_back(self, tmp_path: Path) -> None:
        with started(tmp_path, waits_from=2) as process:
            wait_until(lambda: begun(tmp_path, 3))
            (cancelled,) = begun(tmp_path, 3)
            ask("scancel", cancelled)
            wait_until(lambda: len(begun(tmp_path, 3)) == 2)
            (tmp_path / "wait").unlink()
            _, errors = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, errors
        assert sorted(written(tmp_path)) == [0, 1, 2, 3]
        assert written(tmp_path)[3][0] != cancelled
        log = "".join(file.read_text() for file in tmp_path.glob("logs/*/worker_*.log"))
        assert re.search(r"^INFO: it got SIGTERM, so block \[3:4\] \(1\) is handed back; ", log, re.MULTILINE)
        assert "ended with exit code 143" not in log, "a second SIGTERM ended the worker"

    @pytest.mark.slow
    def test_so_does_one_whose_time_is_over(self, tmp_path: Path) -> None:
        with started(tmp_path, waits_from=2) as process:
            wait_until(lambda: begun(tmp_path, 3))
            (ended,) = begun(tmp_path, 3)
            ask("scontrol", "update", f"jobid={ended}", "TimeLimit=0")
            wait_until(lambda: len(begun(tmp_path, 3)) == 2)  # Slurm looks every half minute
            (tmp_path / "wait").unlink()
            _, errors = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, errors
        log = "".join(file.read_text() for file in tmp_path.glob("logs/*/worker_*.log"))
        assert "DUE TO TIME LIMIT" in log
        assert re.search(r"^INFO: it got SIGTERM, so block \[3:4\] \(1\) is handed back; ", log, re.MULTILINE)
        assert "ended with exit code 143" not in log, "a second SIGTERM ended the worker"

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
    def test_jobs_end_with_the_call(self, tmp_path: Path, number: signal.Signals) -> None:
        with started(tmp_path, waits_from=0) as process:
            wait_until(lambda: len(list(tmp_path.glob("begun_*"))) == 2)
            assert len(jobs()) == 2
            process.send_signal(number)
            process.communicate(timeout=PATIENCE)
            wait_until(lambda: not jobs("--states=PENDING,RUNNING"))
        assert not written(tmp_path)

    def test_so_do_those_that_wait(self, tmp_path: Path) -> None:
        ask("scontrol", "update", f"nodename={','.join(NODES)}", "state=drain", "reason=test")
        try:
            with started(tmp_path, waits_from=0) as process:
                wait_until(lambda: len(jobs("--states=PENDING")) == 2)
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=PATIENCE)
                wait_until(lambda: not jobs())
        finally:
            ask("scontrol", "update", f"nodename={','.join(NODES)}", "state=resume")


def test_workers_are_steps_of_an_allocation(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    words = shlex.join([sys.executable, "-c", CALL, str(tmp_path), repr({**JOB, "num_cpus": 2}), str(10**6)])
    limits = ["--cpus-per-task=2", "--mem=1G", "--time=10", f"--output={tmp_path / 'log'}", "--wait"]
    done = subprocess.run(["sbatch", *limits, "--wrap", words], env=environment(), timeout=PATIENCE)
    assert done.returncode == 0, (tmp_path / "log").read_text()
    blocks = written(tmp_path)
    assert sorted(blocks) == [0, 1, 2, 3]
    assert len({job for job, *_ in blocks.values()}) == 1
    assert all(step.isdigit() for _, step, *_ in blocks.values()), "the script itself is no numbered step"


@pytest.mark.slow
def test_apply_in_jobs_gives_what_it_gives_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WatershedPostProcessor, "whole_voxels", 0)
    monkeypatch.chdir(tmp_path)
    run, source = stored_run(tmp_path), new_volume(tmp_path)
    results = []
    in_slurm = {**JOB, "memory": "1GB", "num_gpus": 1, "steps": {"predict": {"queue": "gpu"}}}
    for name, fields in (("LocalTorch", {}), ("Slurm", in_slurm)):
        Options.instance(compute_context={"type": name, "config": fields})
        arrays = [LocalArrayIdentifier(tmp_path / f"{name}.zarr", part) for part in ("prediction", "labels")]
        apply_run(run, 1, WatershedPostProcessorParameters(id=0), source, *arrays, num_workers=2)
        results.append([stored_values(array) for array in arrays])
    for here, in_jobs in zip(*results, strict=True):
        np.testing.assert_array_equal(in_jobs, here)
    shown = [dict(re.findall(r"(\S+?)=(\S+)", line)) for line in ask("scontrol", "-o", "show", "job").splitlines()]
    ours = [job for job in shown if job["JobName"].startswith("dacapo_") and job["WorkDir"] == str(tmp_path)]
    assert {(job["Partition"], "TresPerNode" in job) for job in ours} == {("gpu", True), ("normal", False)}


@pytest.mark.slow
def test_a_training_whose_time_is_over_is_queued_again(options: DaCapoConfig, tmp_path: Path) -> None:
    """The script of the documentation, with less to ask for."""
    create_config_store().store_run_config(dummy_run_config("cells", num_iterations=10**6, validation_interval=2))
    script, _ = scripts(PAGE)
    script = re.sub("--gpus=1 .*", "--cpus-per-task=2 --mem=2G --time=1:00:00", script)
    file, log = tmp_path / "job.sh", tmp_path / "log"
    file.write_text(script)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "dacapo").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m dacapo "$@"\n')
    (programs / "dacapo").chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["sbatch", f"--output={log}", file], env={**environment(), "PATH": path}, check=True)
    (job,) = jobs()

    def trained() -> int:
        assert "Error" not in log.read_text(), log.read_text()
        return create_weights_store().latest_iteration("cells") or 0

    wait_until(lambda: log.exists() and trained() > 0)
    ask("scancel", "--batch", "--signal=USR1", job)  # what --signal=B:USR1 of the script does in time
    wait_until(lambda: {"JobState=PENDING", "Restarts=1"} <= set(ask("scontrol", "show", "job", job).split()))
