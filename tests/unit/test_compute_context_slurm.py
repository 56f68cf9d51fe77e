"""Workers as jobs of Slurm: a stand-in really runs them."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from funlib.geometry import Roi

from dacapo import run_blockwise
from dacapo.blockwise.worker.job import Job
from dacapo.blockwise.worker.starter import WorkerStarter
from dacapo.compute_context import ComputeContext, LocalTorch, Slurm, create_compute_context
from dacapo.errors import BlockwiseError
from dacapo.options import DaCapoConfig, Options
from tests.helpers.cluster import install_srun

# Leaves a file per block, which says where it was written.
MARK = """
import os
from pathlib import Path

def process_block(block, folder):
    names = ("OMP_NUM_THREADS", "GREETING", "SLURM_JOB_ID")
    values = [os.environ.get(name, "") for name in names]
    (Path(folder) / str(block.write_roi.begin[0])).write_text(",".join([str(os.getsid(0)), *values]))
"""

TOTAL, BLOCK = Roi((0,), (10,)), Roi((0,), (3,))


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which a stand-in for ``srun`` records its arguments."""
    return install_srun(tmp_path, monkeypatch)


def run_marks(folder: Path, config: dict[str, object]) -> dict[int, list[str]]:
    """Run four blocks on two workers; returns what each block wrote."""
    (folder / "mark.py").write_text(MARK)
    done = folder / "done"
    done.mkdir()
    Options.instance(compute_context={"type": "Slurm", "config": config})
    assert run_blockwise(folder / "mark.py", TOTAL, BLOCK, BLOCK, 2, folder=done, log_dir=folder / "logs")
    return {int(file.name): file.read_text().split(",") for file in done.iterdir()}


class TestCommand:
    def test_it_has_all_that_was_asked_for(self, tmp_path: Path) -> None:
        context = Slurm(
            queue="gpu",
            num_gpus=2,
            num_cpus=12,
            memory="16GB",
            time="1-12:00:05",
            account="lab",
            extra_flags=["--qos=high", "--exclude=node 7"],
        )
        assert context.wrap_command(["python", "-m", "x"], tmp_path / "worker 3.log") == [
            *["srun", "--job-name=dacapo_worker_3", "--nodes=1", "--ntasks=1", "--cpus-per-task=12", "--partition=gpu"],
            *["--gres=gpu:2", "--mem=16384M", "--time=36:00:05", "--account=lab", "--export=ALL", "--input=none"],
            *["--qos=high", "--exclude=node 7", "python", "-m", "x"],
        ]

    def test_what_is_left_out_is_not_there(self) -> None:
        assert Slurm(num_gpus=0).wrap_command(["x"]) == [
            *["srun", "--job-name=dacapo", "--nodes=1", "--ntasks=1", "--cpus-per-task=5"],
            *["--export=ALL", "--input=none", "x"],
        ]

    def test_defaults(self) -> None:
        context = create_compute_context(DaCapoConfig(compute_context={"type": "Slurm"}))
        assert context == Slurm(True, None, 1, 5, None, None, None, [], [])
        assert context.local_cores is None
        assert context.threads_per_worker(100) == 5
        assert context.worker_environment(3) == {}
        assert pickle.loads(pickle.dumps(context)) == context

    def test_device(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert Slurm(num_gpus=1).device == torch.device("cuda")
        assert Slurm(num_gpus=0).device == torch.device("cpu")


class TestJobs:
    def test_job_runs_elsewhere_with_our_environment(self, record: Path, tmp_path: Path) -> None:
        script = (
            "import os, sys; print(os.environ['GREETING'], os.environ['LOADED'], sys.argv[1:]); print(os.getsid(0))"
        )
        words = ["two  words; $HOME", "it's", "a\nb", ""]
        log = tmp_path / "worker_0.log"
        context = Slurm(environment_setup=["LOADED='a  b'", "export LOADED"])
        context.execute([sys.executable, "-c", script, *words], log, {"GREETING": "hello"})
        output, session = log.read_text().splitlines()
        assert output == f"hello a  b {words}"
        assert int(session) != os.getsid(0)
        assert json.loads(record.read_text())["job_name"] == "dacapo_worker_0"

    def test_error_tells_what_the_job_said(self, record: Path) -> None:
        script = "import sys; print('no licence', file=sys.stderr); raise SystemExit(3)"
        with pytest.raises(BlockwiseError, match=r"exit code 3.*\n.*no licence"):
            Slurm().execute([sys.executable, "-c", script])

    def test_errors_leave_out_what_srun_says_after_the_job(self) -> None:
        said = [
            "srun: job 7 queued and waiting for resources",
            "srun: Job 7 step creation temporarily disabled, retrying (Requested nodes are busy)",
            "/bin/bash: line 2: module: command not found",
            "srun: error: n1: task 0: Exited with exit code 127",
            "srun: error: n1: task 0: Killed",
            "srun: Force Terminated StepId=7.0",
            "srun: unrecognized option '--qs'",
            'Try "srun --help" for more information',
            "srun: error: Unable to allocate resources: Invalid partition name specified",
        ]
        assert [line for line in said if Slurm().tells_cause(line)] == [said[2], said[4], said[6], said[8]]

    def test_no_srun(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(BlockwiseError, match="cannot start 'srun"):
            Slurm().execute(["true"])


class TestBlocks:
    def test_all_blocks_are_done_by_jobs(
        self, options: DaCapoConfig, record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        setup = ["export GREETING='hello  you'"]
        config = {"num_gpus": 1, "num_cpus": 3, "queue": "short", "memory": "2GB", "environment_setup": setup}
        blocks = run_marks(tmp_path, config)
        assert sorted(blocks) == [0, 3, 6, 9]
        assert {(threads, greeting) for _, threads, greeting, _ in blocks.values()} == {("3", "hello  you")}
        assert str(os.getsid(0)) not in {session for session, *_ in blocks.values()}
        jobs = [json.loads(line) for line in record.read_text().splitlines()]
        assert sorted(job["job_name"] for job in jobs) == ["dacapo_worker_0", "dacapo_worker_1"]
        assert {(job["partition"], job["mem"], job["gres"]) for job in jobs} == {("short", "2048M", "gpu:1")}

    def test_jobs_that_cannot_start_fail_the_call(self, options: DaCapoConfig, record: Path, tmp_path: Path) -> None:
        config = {"environment_setup": ["echo the module is missing >&2", "false"]}
        with pytest.raises(BlockwiseError, match=r"4 of 4 blocks are not done.*\n.*the module is missing"):
            run_marks(tmp_path, config)

    def test_variables_of_a_worker(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ComputeContext, "_registry", dict(ComputeContext._registry))

        class Numbered(LocalTorch):
            def worker_environment(self, worker: int) -> dict[str, str]:
                return {"NUMBER": str(worker)}

        file = tmp_path / "worker.py"
        file.write_text(
            f"import os, pathlib\ndef start_worker(): pathlib.Path({str(tmp_path)!r}, os.environ['NUMBER']).touch()\n"
        )
        job = Job(str(file), [], {}, str(tmp_path), {}).to_json()
        WorkerStarter(Numbered(), job, tmp_path, os.pathsep.join(sys.path), None)(context={"worker_id": "7"})
        assert (tmp_path / "0").exists(), "no other worker lives"
