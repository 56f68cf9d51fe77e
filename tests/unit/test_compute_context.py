"""Where workers run: commands are built as asked, and they really run."""

from __future__ import annotations

import inspect
import json
import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dacapo.apply import apply, apply_run
from dacapo.compute_context import (
    DEFAULT_WORKERS,
    BatchSystem,
    Bsub,
    Execution,
    LocalTorch,
    Slurm,
    create_compute_context,
    prediction_workers,
)
from dacapo.compute_context.batch_system import megabytes, seconds
from dacapo.compute_context.local_torch import one_gpu
from dacapo.errors import BlockwiseError, ConfigError, MemoryBudgetError
from dacapo.experiments.tasks.post_processors import ArgmaxPostProcessor, ThresholdPostProcessor, WatershedPostProcessor
from dacapo.options import DaCapoConfig, Options
from dacapo.predict import predict
from dacapo.utils.memory_estimates import PROCESS_BYTES, WORKER_BYTES
from dacapo.validate import validate, validate_run
from tests.helpers.cluster import install_bsub

ONE_HOST = ["-R", "span[hosts=1]"]


class TestBsub:
    def test_command_has_all_that_was_asked_for(self, tmp_path: Path) -> None:
        context = Bsub(queue="gpu_short", num_gpus=2, num_cpus=12, billing="lab")
        command = context.wrap_command(["python", "-m", "x"], tmp_path / "worker 3.log")
        output = str(tmp_path / "worker 3.job")
        expected = [
            "bsub",
            "-K",
            "-q",
            "gpu_short",
            "-n",
            "12",
            *ONE_HOST,
            "-gpu",
            "num=2",
            "-J",
            "dacapo_worker_3",
            "-P",
            "lab",
        ]
        assert command == [*expected, "-o", output, "python", "-m", "x"]

    def test_no_gpu_and_no_billing(self) -> None:
        assert Bsub(num_gpus=0).wrap_command(["x"]) == [
            *["bsub", "-K", "-q", "local", "-n", "5", *ONE_HOST, "-J", "dacapo", "-o", "/dev/null"],
            "x",
        ]

    def test_memory_time_and_flags(self) -> None:
        context = Bsub(num_gpus=0, memory="1.5GB", time="1-00:00:01", extra_flags=["-m", "node 1"])
        assert context.wrap_command(["x"]) == [
            *[
                "bsub",
                "-K",
                "-q",
                "local",
                "-n",
                "5",
                *ONE_HOST,
                "-J",
                "dacapo",
                "-R",
                "rusage[mem=1536MB]",
                "-M",
                "1536MB",
            ],
            *["-W", "24:01", "-o", "/dev/null", "-m", "node 1", "x"],
        ]

    def test_a_single_core_is_on_one_host(self) -> None:
        assert "-R" not in Bsub(num_cpus=1).wrap_command(["x"])

    def test_fields_keep_their_places(self) -> None:
        assert Bsub(True, "gpu", 2, 12, "lab") == Bsub(queue="gpu", num_gpus=2, num_cpus=12, billing="lab")

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

    def test_setup_comes_first_in_the_same_shell(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        install_bsub(tmp_path, monkeypatch)
        log = tmp_path / "worker_0.log"
        setup = ['module() { export LOADED="it\'s $1"; }', "module 'a  b'  # ours", "cd /"]
        script = "import os, sys; print(os.environ['LOADED'], os.getcwd(), sys.argv[1:])"
        words = ["two  words", "$LOADED", "it's", '"', "a\nb", ""]
        Bsub(environment_setup=setup, memory="1GB").execute([sys.executable, "-c", script, *words], log)
        assert log.with_suffix(".job").read_text() == f"it's a  b / {words}\n"

    def test_setup_that_fails_ends_the_job(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        install_bsub(tmp_path, monkeypatch)
        with pytest.raises(BlockwiseError, match="exit code 127"):
            Bsub(environment_setup=["no_such_program_anywhere"]).execute(["touch", str(tmp_path / "ran")])
        assert not (tmp_path / "ran").exists()

    def test_exit_code_of_a_job(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        install_bsub(tmp_path, monkeypatch)
        with pytest.raises(BlockwiseError, match="exit code 3"):
            Bsub().execute([sys.executable, "-c", "raise SystemExit(3)"])

    def test_no_bsub(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(BlockwiseError, match="cannot start 'bsub"):
            Bsub().execute(["true"])


@pytest.mark.parametrize("cls", [Bsub, Slurm])
class TestWrongValues:
    @pytest.mark.parametrize("wrong", [{"num_gpus": -1}, {"num_cpus": 0}, {"num_cpus": "4"}, {"num_gpus": 0.5}])
    def test_numbers(self, cls: type[BatchSystem], wrong: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=f"{cls.__name__}: .*at least 1 core"):
            cls(**wrong)

    @pytest.mark.parametrize("memory", ["16", 16, "GB", "-1GB", "0GB", "16XB", "1,5GB", "16GB --exclusive", ""])
    def test_memory(self, cls: type[BatchSystem], memory: Any) -> None:
        for name in ("memory", "gpu_memory"):
            with pytest.raises(ConfigError, match="memory must be a size"):
                cls(**{name: memory})

    @pytest.mark.parametrize("time", ["4:00", 14400, "0:00:00", "1:60:00", "1:00:60", "4h", "-1:00:00", "1-2", ""])
    def test_time(self, cls: type[BatchSystem], time: Any) -> None:
        with pytest.raises(ConfigError, match="time must be hours:minutes:seconds"):
            cls(time=time)

    @pytest.mark.parametrize("name", ["extra_flags", "environment_setup"])
    @pytest.mark.parametrize("value", ["-x", [1], None])
    def test_lists(self, cls: type[BatchSystem], name: str, value: Any) -> None:
        with pytest.raises(ConfigError, match=f"{name} must be a list of strings"):
            cls(**{name: value})


@pytest.mark.parametrize(
    ("text", "size"),
    [("16GB", 16384), ("16g", 16384), ("500M", 500), ("1.5 GiB", 1536), ("2TB", 2 << 20), ("0.0001GB", 1)],
)
def test_megabytes(text: str, size: int) -> None:
    assert megabytes(text) == size


@given(st.timedeltas(timedelta(seconds=1), timedelta(days=99)))
def test_seconds(time: timedelta) -> None:
    minutes, rest = divmod(whole := int(time.total_seconds()), 60)
    assert seconds(f"{minutes // 60}:{minutes % 60:02}:{rest:02}") == whole
    assert seconds(f"{time.days}-{minutes // 60 % 24}:{minutes % 60:02}:{rest:02}") == whole


def test_what_batch_systems_share_is_no_choice() -> None:
    with pytest.raises(ConfigError, match=r"unknown compute_context type 'BatchSystem'.*Bsub, .*Slurm") as error:
        create_compute_context(DaCapoConfig(compute_context={"type": "BatchSystem"}))
    assert str(error.value).count("BatchSystem") == 1


class Interrupt(logging.Handler):
    """Interrupts when the output that is passed on says so."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "ready":
            raise KeyboardInterrupt


class TestInterrupt:
    @pytest.fixture(autouse=True)
    def _interrupt(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        logger, handler = logging.getLogger("dacapo.compute_context.commands"), Interrupt()
        level = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        yield
        logger.removeHandler(handler)
        logger.setLevel(level)

    def test_command_may_end_what_it_has_started(self, tmp_path: Path) -> None:
        script = f"trap 'touch {tmp_path}/ended; exit' TERM; echo ready; while true; do sleep 0.01; done"
        with pytest.raises(KeyboardInterrupt):
            LocalTorch().execute(["bash", "-c", script])
        assert (tmp_path / "ended").exists()

    def test_but_not_take_for_ever(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("dacapo.compute_context.commands._GRACE", 0.1)
        script = f"trap '' TERM; echo $$ > {tmp_path}/pid; echo ready; while true; do sleep 0.01; done"
        with pytest.raises(KeyboardInterrupt):
            LocalTorch().execute(["bash", "-c", script])
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)


class TestLocalTorch:
    @given(st.integers(0, 99), st.integers(2, 9))
    def test_workers_get_gpus_in_turn(self, worker: int, num_gpus: int) -> None:
        everything = one_gpu(worker, num_gpus, None)
        assert (
            everything == {"CUDA_VISIBLE_DEVICES": str(worker % num_gpus)} == one_gpu(worker + num_gpus, num_gpus, None)
        )

    def test_gpus_that_this_process_may_use(self) -> None:
        chosen = [one_gpu(worker, 3, "5, 2,GPU-8f,-1,4")["CUDA_VISIBLE_DEVICES"] for worker in range(4)]
        assert chosen == ["5", "2", "GPU-8f", "5"]

    @pytest.mark.parametrize("visible", [None, "", "3"])
    def test_no_choice_of_gpus(self, visible: str | None) -> None:
        assert one_gpu(2, 1, visible) == one_gpu(2, 0, visible) == {}

    def test_variables_fit_this_machine(self) -> None:
        several = torch.cuda.device_count() > 1
        assert bool(LocalTorch().worker_environment(3)) == several
        assert LocalTorch(device="cuda:1").worker_environment(3) == LocalTorch(device="cpu").worker_environment(3) == {}

    def test_predictions_get_workers_that_were_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
        default, always = LocalTorch(device="cpu"), LocalTorch(distribute_workers=True, device="cpu")
        asked = (1, 2, 12, 30, None)
        assert [prediction_workers(number, default) for number in asked] == [0, 2, 12, 16, 0]
        assert [prediction_workers(number, always) for number in asked] == [1, 2, 12, 16, 16]
        assert [prediction_workers(number, Slurm()) for number in asked] == [1, 2, 12, 30, 30]
        here = Slurm(distribute_workers=False)
        assert [prediction_workers(number, here) for number in asked] == [0, 2, 12, 30, 0]

    @pytest.mark.parametrize(("gpus", "expected"), [(0, 0), (1, 0), (2, 8), (5, 20), (8, 24), (20, 20)])
    def test_predictions_use_all_gpus(self, monkeypatch: pytest.MonkeyPatch, gpus: int, expected: int) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
        monkeypatch.setattr(LocalTorch, "local_gpus", gpus)
        assert prediction_workers(None, LocalTorch()) == expected
        assert prediction_workers(3, LocalTorch()) == 3
        assert prediction_workers(1, LocalTorch()) == 0
        assert prediction_workers(None, LocalTorch(), is_stored=False) == 0
        assert prediction_workers(3, LocalTorch(), is_stored=False) == 3

    def test_an_execution_says_how_many_workers_nobody_asked_for(self) -> None:
        assert (Execution().num_workers, Execution().workers, Execution(3).workers) == (None, DEFAULT_WORKERS, 3)

    @pytest.mark.parametrize(
        "operation",
        [
            apply,
            apply_run,
            predict,
            validate,
            validate_run,
            *(kind.process for kind in (ArgmaxPostProcessor, ThresholdPostProcessor, WatershedPostProcessor)),
        ],
    )
    def test_operations_leave_the_number_of_workers_to_one_rule(self, operation: Callable[..., Any]) -> None:
        assert inspect.signature(operation).parameters["num_workers"].default is None

    def test_no_more_workers_than_fit_into_half_of_the_free_memory(
        self, options: DaCapoConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dacapo.utils.memory_estimates.available_memory", lambda: 8 << 30)
        monkeypatch.setattr("dacapo.utils.memory_estimates.process_memory", lambda: 0)
        expected = ((4 << 30) - PROCESS_BYTES) // ((1 << 30) + WORKER_BYTES)
        assert 1 < expected < DEFAULT_WORKERS
        assert Execution().for_blocks(1 << 30).num_workers == expected
        assert Execution(20).for_blocks(1 << 30).num_workers == expected, "even if someone asked for more"
        assert Execution(20).for_blocks(6 << 30).num_workers == 1
        with pytest.raises(MemoryBudgetError, match=r"a block takes about 9.0 GB of memory, but only 8.0 GB may be"):
            Execution(20).for_blocks(9 << 30)
        Options.instance(compute_context={"type": "Slurm"})  # its jobs have memory of their own
        assert Execution().for_blocks(1 << 30).num_workers == DEFAULT_WORKERS
        assert Execution().for_blocks(99 << 30).num_workers == DEFAULT_WORKERS

    def test_a_block_fits_into_the_memory_of_a_job(self, options: DaCapoConfig) -> None:
        Options.instance(compute_context={"type": "Slurm", "config": {"memory": "2GB"}})
        assert Execution(20).for_blocks(1 << 30).num_workers == 20
        assert Execution().block_memory.largest_block == (2 << 30) - WORKER_BYTES
        assert Execution(max_memory="1GB").block_memory.largest_block == (1 << 30) - PROCESS_BYTES  # type: ignore[arg-type]
        with pytest.raises(MemoryBudgetError, match=r"but only 2.0 GB may be used"):
            Execution(20).for_blocks(2 << 30)

    def test_workers_that_fit_beside_this_process(self, options: DaCapoConfig) -> None:
        budgets = ("1.3GB", "1.5GB", "2.5GB", "4.5GB", "99GB")
        assert [Execution(16, budget).for_blocks(700 << 20).num_workers for budget in budgets] == [1, 1, 2, 4, 16]  # type: ignore[arg-type]
        with pytest.raises(MemoryBudgetError, match=r"allow at least 1.2 GB"):
            Execution(16, "600MB").for_blocks(700 << 20)  # type: ignore[arg-type]

    def test_ranks_share_the_work_without_workers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("dacapo.utils.distributed.world_size", lambda: 2)
        assert (Execution().workers, Execution(3).workers) == (1, 3)

    def test_an_execution_refuses_values_that_make_no_sense(self) -> None:
        assert Execution(max_memory="2GB").max_memory == 2 * 1024**3  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="'16GB' or '500MB'"):
            Execution(max_memory="much")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="precision is 'int8'; expected one of float32, bfloat16"):
            Execution(precision="int8")
        for values in ({"num_workers": 0}, {"max_retries": -1}, {"timeout": 0.0}):
            with pytest.raises(ConfigError, match="expected at least 1 worker"):
                Execution(**values)

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
