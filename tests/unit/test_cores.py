"""Cores of the machine, and of a job on a cluster."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from dacapo.compute_context import LocalTorch, Slurm
from dacapo.experiments.run import Run
from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.options import DaCapoConfig
from dacapo.utils.cores import job_cores, node_cores, usable_cores, within_job
from tests.helpers.runs import affinities_run_config


@pytest.fixture(autouse=True)
def _no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "LSB_")) or name == "LOCAL_WORLD_SIZE"]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)))


@pytest.mark.parametrize(
    ("job", "cores"),
    [
        ({}, None),
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "8"}, 4),
        ({"SLURM_CPUS_ON_NODE": "8"}, 8),
        ({"LSB_DJOB_NUMPROC": "3"}, 3),
        ({"LSB_DJOB_NUMPROC": ""}, None),
    ],
)
def test_cores_of_a_job(job: dict[str, str], cores: int | None) -> None:
    assert job_cores(job) == cores
    assert within_job(5, job) == min(5, cores or 5)


def test_ranks_share_the_cores_of_a_job() -> None:
    job = {"SLURM_CPUS_ON_NODE": "8"}
    assert [within_job(5, {**job, "LOCAL_WORLD_SIZE": ranks}) for ranks in ("1", "2", "4", "16")] == [5, 4, 2, 1]


@pytest.mark.parametrize(("nodes", "cores"), [("4", 4), ("8(x2),4", 8), ("4,16(x3)", 16), ("", None)])
def test_cores_of_the_nodes_of_an_allocation(nodes: str, cores: int | None) -> None:
    assert node_cores({"SLURM_JOB_CPUS_PER_NODE": nodes}) == cores


def test_workers_on_this_machine_share_the_cores_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LocalTorch().local_cores == usable_cores() == 16
    monkeypatch.setenv("LSB_DJOB_NUMPROC", "6")
    assert LocalTorch().local_cores == usable_cores() == 6
    assert LocalTorch().threads_per_worker(3) == 2


def test_steps_of_an_allocation_fit_into_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    context = Slurm(num_cpus=8, num_gpus=0)
    assert context.threads_per_worker(2) == 8
    assert "--gres=none" not in context.wrap_command(["x"])
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "4(x2)")
    assert not caplog.records
    assert context.threads_per_worker(2) == 4
    assert "num_cpus is 8, but the allocation of Slurm has 4 cores on a node, so a worker gets 4" in caplog.text
    assert {"--cpus-per-task=4", "--gres=none"} <= set(context.wrap_command(["x"]))
    assert "--gres=none" not in Slurm().wrap_command(["x"])


def test_data_fetchers_fit_into_the_job(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = TorchTrainerConfig("trainer", batch_size=1, learning_rate=1e-3, num_data_fetchers=5)
    run = Run(affinities_run_config(tmp_path, dims=2, trainer_config=trainer))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
    with caplog.at_level(logging.WARNING):
        run.trainer.build_batch_provider(run.datasplit.train, run.model, run.task)
    assert run.trainer.num_data_fetchers == 2
    assert "2 processes make batches instead of num_data_fetchers 5, since the job has no more cores" in caplog.text
