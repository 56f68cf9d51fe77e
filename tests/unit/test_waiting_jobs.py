"""Users are told why jobs wait, and once if nobody knows."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dacapo.blockwise.scheduling.waiting import tell_waiting_jobs
from dacapo.compute_context import Bsub, LocalTorch, Slurm
from dacapo.compute_context.commands import jobs_in
from dacapo.errors import BlockwiseError
from tests.helpers.cluster import install
from tests.helpers.processes import wait_until

SQUEUE = """#!{python}
import sys
assert "--states=PENDING" in sys.argv and "--format=%i %r" in sys.argv
print("7 (Resources)\\n12 Priority\\n13 Priority\\n99 JobHeldUser")
"""
BJOBS = """#!{python}
print("JOBID  USER  STAT  QUEUE  FROM_HOST  JOB_NAME  SUBMIT_TIME")
for job in (7, 12):
    print(f"{{job}}  me  PEND  gpu  login  dacapo  Nov 21 10:00")
    print(" Job slot limit reached: 3 hosts;")
"""
FAILS = """#!{python}
import sys
sys.exit("{{}}")
"""


class Task(SimpleNamespace):
    """The fields of a task that matter here."""

    compute_context: Any
    log_dir: Path


def test_reasons_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "squeue", SQUEUE)
    assert Slurm().waiting_jobs() == {"7": "(Resources)", "12": "Priority", "13": "Priority", "99": "JobHeldUser"}


def test_reasons_of_lsf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "bjobs", BJOBS)
    assert Bsub().waiting_jobs() == dict.fromkeys(["7", "12"], "Job slot limit reached: 3 hosts")


def test_no_job_of_lsf_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "bjobs", FAILS.replace("{{}}", "No pending job found"))
    assert Bsub().waiting_jobs() == {}


@pytest.mark.parametrize(("context", "program"), [(Slurm(), "squeue"), (Bsub(), "bjobs")])
def test_a_cluster_that_gives_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: Slurm | Bsub, program: str
) -> None:
    install(tmp_path, monkeypatch, program, FAILS.replace("{{}}", "out of order"))
    with pytest.raises(BlockwiseError, match=rf"{program} .*exit code 1: out of order"):
        context.waiting_jobs()


def test_the_jobs_of_a_folder(tmp_path: Path) -> None:
    class Submitting(LocalTorch):
        def job_in(self, line: str) -> str | None:
            seen.append(jobs_in(tmp_path))
            return line.strip()

    seen: list[set[str]] = []
    Submitting().execute([sys.executable, "-c", "print(7); print(12)"], tmp_path / "worker_0.log")
    assert seen == [set(), {"7"}]
    assert jobs_in(tmp_path) == set()


def told(folder: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what is told about three jobs in a folder, the last of which runs."""
    caplog.set_level(logging.INFO, "dacapo.blockwise.scheduling.waiting")
    for job in ("7", "12", "14"):
        (folder / f"worker_{job}.job_id").write_text(job)
    with tell_waiting_jobs([Task(compute_context=Slurm(), log_dir=folder)], 0.01):  # type: ignore[list-item]
        wait_until(lambda: caplog.messages)
    return caplog.messages


def test_users_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    install(tmp_path, monkeypatch, "squeue", SQUEUE)
    assert told(tmp_path, caplog) == ["2 jobs wait: (Resources) (1), Priority (1)"]


def test_users_are_told_once_that_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (message,) = told(tmp_path, caplog)
    assert message.startswith("why jobs wait is not known, and not asked for again: squeue --noheader")
