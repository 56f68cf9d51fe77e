"""Where workers run: commands are built as asked, and they really run."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch

from dacapo.compute_context import Bsub, LocalTorch, create_compute_context
from dacapo.errors import BlockwiseError, ConfigError
from dacapo.options import DaCapoConfig

# Does what bsub -K does: the command goes to a shell of another process, its output to a file, its exit code is ours.
BSUB = """#!{python}
import argparse, json, os, subprocess, sys
parser = argparse.ArgumentParser()
parser.add_argument("-K", action="store_true", required=True)
for option in ("-q", "-n", "-gpu", "-J", "-P", "-o"):
    parser.add_argument(option)
parser.add_argument("command", nargs=argparse.REMAINDER)
job = parser.parse_args()
with open(os.environ["BSUB_RECORD"], "a") as record:
    record.write(json.dumps(sys.argv[1:]) + "\\n")
print("Job <1> is submitted", flush=True)
with open(job.o, "a") as output:
    code = subprocess.run(" ".join(job.command), shell=True, start_new_session=True, stdout=output, stderr=output)
sys.exit(code.returncode)
"""


def install_bsub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for ``bsub`` on the PATH; returns the file in which it records its arguments."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "bsub"
    program.write_text(BSUB.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("BSUB_RECORD", str(folder / "record"))
    return folder / "record"


class TestBsub:
    def test_command_has_all_that_was_asked_for(self, tmp_path: Path) -> None:
        context = Bsub(queue="gpu_short", num_gpus=2, num_cpus=12, billing="lab")
        command = context.wrap_command(["python", "-m", "x"], tmp_path / "worker 3.log")
        output = str(tmp_path / "worker 3.job")
        expected = ["bsub", "-K", "-q", "gpu_short", "-n", "12", "-gpu", "num=2", "-J", "dacapo_worker_3", "-P", "lab"]
        assert command == [*expected, "-o", output, "python", "-m", "x"]

    def test_no_gpu_and_no_billing(self) -> None:
        assert Bsub(num_gpus=0).wrap_command(["x"]) == [
            *["bsub", "-K", "-q", "local", "-n", "5", "-J", "dacapo", "-o", "/dev/null"],
            "x",
        ]

    def test_defaults(self) -> None:
        context = create_compute_context(DaCapoConfig(compute_context={"type": "Bsub"}))
        assert context == Bsub(distribute_workers=True, queue="local", num_gpus=1, num_cpus=5, billing=None)
        assert context.local_cores is None
        assert context.threads_per_worker(100) == 5
        assert pickle.loads(pickle.dumps(context)) == context

    def test_device(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert Bsub(num_gpus=0).device == torch.device("cpu")
        assert Bsub(num_gpus=1).device.type == ("cuda" if torch.cuda.is_available() else "cpu")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert Bsub(num_gpus=1).device == torch.device("cuda")
        assert Bsub(num_gpus=0).device == torch.device("cpu")

    @pytest.mark.parametrize("wrong", [{"num_gpus": -1}, {"num_cpus": 0}])
    def test_numbers_that_make_no_sense(self, wrong: dict[str, int]) -> None:
        with pytest.raises(ConfigError, match="at least 1 core"):
            Bsub(**wrong)

    def test_job_runs_elsewhere_with_our_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        record = install_bsub(tmp_path, monkeypatch)
        script = "import os, sys; print(os.environ['GREETING'], sys.argv[1], os.getsid(0))"
        log = tmp_path / "worker_0.log"
        Bsub().execute([sys.executable, "-c", script, "two  words; $HOME"], log, {"GREETING": "hello"})
        greeting, *words, session = log.with_suffix(".job").read_text().split(" ")
        assert (greeting, " ".join(words)) == ("hello", "two  words; $HOME")
        assert int(session) != os.getsid(0)
        assert "submitted" in log.read_text()
        assert json.loads(record.read_text())[:3] == ["-K", "-q", "local"]

    def test_exit_code_of_a_job(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        install_bsub(tmp_path, monkeypatch)
        with pytest.raises(BlockwiseError, match="exit code 3"):
            Bsub().execute([sys.executable, "-c", "raise SystemExit(3)"])

    def test_no_bsub(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(BlockwiseError, match="cannot start 'bsub"):
            Bsub().execute(["true"])


class TestLocalTorch:
    def test_cores_are_shared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert LocalTorch().local_cores == len(os.sched_getaffinity(0))
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(7)))
        context = LocalTorch()
        assert [context.threads_per_worker(workers) for workers in (1, 2, 3, 7, 9)] == [7, 3, 2, 1, 1]

    def test_output_and_environment(self, tmp_path: Path) -> None:
        script = "import os; print('out', os.environ['ANSWER'])"
        log = tmp_path / "log"
        for answer in ("42", "43"):
            LocalTorch().execute([sys.executable, "-c", script], log, {"ANSWER": answer})
        assert log.read_text() == "out 42\nout 43\n"
        assert "ANSWER" not in os.environ
