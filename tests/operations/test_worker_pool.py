"""Workers stay for the next pass of a call, and end when nobody needs them any more."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread

import attrs
import numpy as np
import pytest
from funlib.geometry import Coordinate

from dacapo.apply import apply_run
from dacapo.blockwise.journal import Resume, journal_folder
from dacapo.blockwise.scheduling.run_operation import execute
from dacapo.blockwise.worker.pool import WorkerPool
from dacapo.blockwise.worker_module import WorkerModule
from dacapo.compute_context import Execution, LocalTorch, Step
from dacapo.errors import BlockwiseError
from dacapo.experiments.tasks.post_processors import WatershedPostProcessor, WatershedPostProcessorParameters
from dacapo.options import DaCapoConfig, Options
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.cluster import install_bsub, install_queue, install_srun
from tests.helpers.invert import Invert, make_invert, set_fault, tried
from tests.helpers.processes import Started, is_alive, wait_until
from tests.helpers.runs import stored_run
from tests.helpers.volumes import cells, stored_values, write_array

pytestmark = pytest.mark.destructive

WORKERS = 2
SHAPE, BLOCK = (4, 4, 12), (4, 4, 2)
BEGINS = [[80, 40, 40 + 8 * i] for i in range(6)]


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)


@pytest.fixture
def operation(tmp_path: Path, values: np.ndarray, options: DaCapoConfig) -> Invert:
    """An operation, whose passes always have worker processes."""
    Options.instance(compute_context={"type": "LocalTorch", "config": {"distribute_workers": True}})
    return make_invert(tmp_path, values, BLOCK)


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(set(Step)) as pool:
        yield pool


def do_pass(
    operation: Invert, pool: WorkerPool, name: str, num_workers: int = WORKERS, step: str = "blockwise"
) -> None:
    """Invert the values once more, into an array of another name, and check them."""
    output = attrs.evolve(operation.output, dataset=name)
    operation = attrs.evolve(operation, output=output, of_step=step)
    execute(operation, Execution(num_workers, resume=Resume.UNFINISHED, max_retries=0, pool=pool))
    np.testing.assert_array_equal(stored_values(output), 255 - stored_values(operation.input))


def pids(operation: Invert) -> list[int]:
    """Return the processes that took part in the passes since the last call."""
    file = operation.folder / "pids"
    text = file.read_text() if file.exists() else ""
    file.unlink(missing_ok=True)
    return sorted(set(map(int, text.split())))


def end(processes: list[int], number: int) -> None:
    """Send processes a signal, and wait until they have ended."""
    for pid in processes:
        os.kill(pid, number)
    wait_until(lambda: not any(map(is_alive, processes)))


def test_workers_do_all_passes(operation: Invert, tmp_path: Path) -> None:
    with WorkerPool(set(Step)) as pool:
        for name in ("first", "second", "third"):
            do_pass(operation, pool, name)
            assert len(tried(tmp_path)) == len(BEGINS)
        found = pids(operation)
        assert len(found) == WORKERS
        assert all(map(is_alive, found))
        assert list(journal_folder(attrs.evolve(operation.output, dataset="first")).glob("workers_*"))
    assert not any(map(is_alive, found))
    assert not list((tmp_path / "out.zarr").rglob("workers_*"))


def test_jobs_do_all_passes(operation: Invert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = install_bsub(tmp_path, monkeypatch)
    Options.instance(compute_context={"type": "Bsub", "config": {"num_gpus": 0, "host": "127.0.0.1"}})
    with WorkerPool(set(Step)) as pool:
        for name in ("first", "second", "third"):
            do_pass(operation, pool, name)
    jobs = [json.loads(line) for line in record.read_text().splitlines()]
    assert sorted(job[job.index("-J") + 1] for job in jobs) == ["dacapo_worker_0", "dacapo_worker_1"]
    assert not any(map(is_alive, pids(operation)))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_that_end_between_passes_are_replaced(operation: Invert, pool: WorkerPool, number: int) -> None:
    do_pass(operation, pool, "first")
    before = pids(operation)
    end(before, number)
    do_pass(operation, pool, "second")
    assert len(pids(operation)) == WORKERS


def test_a_worker_that_dies_in_a_pass_is_replaced(operation: Invert, pool: WorkerPool, tmp_path: Path) -> None:
    do_pass(operation, pool, "first")
    before = pids(operation)
    tried(tmp_path)
    set_fault(tmp_path, "kill once", BEGINS[4])
    output = attrs.evolve(operation.output, dataset="second")
    execute(attrs.evolve(operation, output=output), Execution(WORKERS, resume=Resume.UNFINISHED, pool=pool))
    assert tried(tmp_path) == sorted([*BEGINS, BEGINS[4]])
    pids(operation)
    do_pass(operation, pool, "third")
    assert len(set(pids(operation)) - set(before)) == 1, "the other one stayed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_worker_that_is_told_to_end_in_a_pass_hands_its_block_back(
    operation: Invert, pool: WorkerPool, tmp_path: Path, number: int
) -> None:
    do_pass(operation, pool, "first")
    before = pids(operation)
    fault = set_fault(tmp_path, "wait", BEGINS[4])

    def tell() -> None:
        wait_until((tmp_path / "waiting").exists)
        fault.unlink()
        for pid in before:
            os.kill(pid, number)

    thread = Thread(target=tell)
    thread.start()
    do_pass(operation, pool, "second")  # without retries
    thread.join()
    assert not any(map(is_alive, before))


def test_workers_that_are_idle_for_long_end(operation: Invert) -> None:
    with WorkerPool(set(Step), idle=0.0) as pool:
        do_pass(operation, pool, "first")
        before = pids(operation)
        wait_until(lambda: not any(map(is_alive, before)))
        do_pass(operation, pool, "second")
        assert not set(pids(operation)) & set(before)


def test_workers_of_other_resources(operation: Invert) -> None:
    fields = {"distribute_workers": True, "steps": {"predict": {"oom_limit": 1.0}, "match": {"num_workers": 1}}}
    Options.instance(compute_context={"type": "LocalTorch", "config": fields})
    found = {}
    with WorkerPool(set(Step)) as pool:
        for step in ("predict", "segment", "match"):
            do_pass(operation, pool, step, step=step)
            found[step] = pids(operation)
            if step == "predict":
                pool.over(Step.PREDICT)
                wait_until(lambda: not any(map(is_alive, found["predict"])))
        assert list(map(len, found.values())) == [WORKERS, WORKERS, 1]
        assert set(found["match"]) < set(found["segment"]), "their number is no resource"
        assert not set(found["predict"]) & set(found["segment"])


def test_no_more_workers_stay_than_fit_into_memory(operation: Invert, pool: WorkerPool) -> None:
    do_pass(operation, pool, "first")
    before = pids(operation)
    do_pass(operation, pool, "second", num_workers=1)
    (stayed,) = pids(operation)
    assert stayed in before
    wait_until(lambda: [pid for pid in before if is_alive(pid)] == [stayed])


def test_a_job_that_waits_is_kept_for_the_next_pass_and_cancelled_at_the_end(
    operation: Invert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = install_queue(tmp_path, monkeypatch, "bsub", "bkill")
    Options.instance(compute_context={"type": "Bsub", "config": {"num_gpus": 0, "host": "127.0.0.1"}})
    with WorkerPool(set(Step)) as pool:
        do_pass(operation, pool, "first")
        do_pass(operation, pool, "second")
        assert not record.exists()
    assert record.read_text().splitlines() == ["terminated", "bkill 4711"]
    assert len(pids(operation)) == 1


def test_an_error_ends_workers_and_keeps_logs(operation: Invert, tmp_path: Path) -> None:
    def fail() -> None:
        with WorkerPool(set(Step)) as pool:
            do_pass(operation, pool, "first")
            set_fault(tmp_path, "kill", BEGINS[4])
            do_pass(operation, pool, "second")

    with pytest.raises(BlockwiseError, match="its worker died or took too long") as raised:
        fail()
    assert not any(map(is_alive, pids(operation)))
    (log,) = re.findall(r"took too long \((.*worker_\d+\.log)\)", str(raised.value))
    assert "ended with exit code -9" in Path(log).read_text()
    assert list((tmp_path / "out.zarr").rglob("workers_*"))


PARENT = """
    import json, sys, time
    from pathlib import Path
    import attrs
    from dacapo.blockwise.journal import Resume
    from dacapo.blockwise.operation import BlockwiseOperation
    from dacapo.blockwise.scheduling.run_operation import execute
    from dacapo.blockwise.worker.pool import WorkerPool
    from dacapo.cli import _Group
    from dacapo.compute_context import Execution, Step

    def call():
        operation = BlockwiseOperation.from_settings(json.loads(sys.argv[1]))
        with WorkerPool(set(Step)) as pool:
            execute(operation, Execution(2, resume=Resume.UNFINISHED, pool=pool))
            Path(operation.folder, "waiting").touch()
            time.sleep(600)

    if __name__ == "__main__":
        _Group("main", callback=call, invoke_without_command=True)([])
"""


@pytest.mark.parametrize("is_in_a_pass", [False, True], ids=["between passes", "in a pass"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_caller(operation: Invert, tmp_path: Path, number: int, is_in_a_pass: bool) -> None:
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT))
    if is_in_a_pass:
        set_fault(tmp_path, "wait", BEGINS[4])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
    with Started([sys.executable, script, json.dumps(operation.as_settings())], env=environment) as parent:
        wait_until(lambda: (tmp_path / "waiting").exists() and (tmp_path / "pids").read_text().count("\n") == WORKERS)
        parent.send_signal(number)
        text = parent.communicate()[1]
        found = pids(operation)
        assert len(found) == WORKERS
        wait_until(lambda: not any(map(is_alive, found)))
    assert "Traceback" not in text


def test_a_context_of_our_own(operation: Invert, tmp_path: Path) -> None:
    @attrs.define
    class Own(LocalTorch):
        def wrap_command(self, command: Sequence[str], log: Path | None = None) -> list[str]:
            return ["sh", "-c", f'echo started >> {tmp_path / "starts"}; exec "$@"', "sh", *command]

    Options.instance(compute_context={"type": "Own", "config": {"distribute_workers": True}})
    with WorkerPool(set(Step)) as pool:
        do_pass(operation, pool, "first")
        do_pass(operation, pool, "second")
    assert (tmp_path / "starts").read_text().count("started") == len(pids(operation)) == WORKERS


LOADS_TORCH = """
import os, sys
from pathlib import Path

def process_block(block, file):
    with open(file, "a") as handle:
        handle.write(f"{os.getpid()} {'torch' in sys.modules}\\n")
    import torch
"""


def test_the_memory_of_a_network_does_not_stay(operation: Invert, pool: WorkerPool, tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(LOADS_TORCH)
    for name in ("first", "second"):
        output = attrs.evolve(operation.output, dataset=name)
        fields = {"input": operation.input, "region": operation.region, "block_shape": operation.region.shape}
        module = WorkerModule(output=output, worker_file=str(worker), args=[str(tmp_path / name)], **fields)
        execute(module, Execution(1, resume=Resume.UNFINISHED, pool=pool))
    first, second = ((tmp_path / name).read_text().split() for name in ("first", "second"))
    assert first == second, "the same process, without PyTorch"
    assert first[1] == "False"


NOTES_WORKERS = """
import os, sys
if sys.orig_argv[1:] == ["-m", "dacapo.blockwise"]:
    with open({record!r}, "a") as file:
        file.write(str(os.getpid()) + "\\n")
"""
CONTEXTS = [
    {"type": "LocalTorch", "config": {"distribute_workers": True}},
    {"type": "Slurm", "config": {"num_gpus": 0, "num_cpus": 1}},
]


@pytest.mark.slow
@pytest.mark.parametrize("context", CONTEXTS, ids=["processes", "jobs"])
def test_apply_starts_each_worker_once(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: dict[str, object]
) -> None:
    install_srun(tmp_path, monkeypatch)
    Options.instance(compute_context=context)
    record = tmp_path / "workers"
    (tmp_path / "sitecustomize.py").write_text(NOTES_WORKERS.format(record=str(record)))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(WatershedPostProcessor, "whole_voxels", 0)
    raw, _ = cells((300, 300), size=60)
    source = write_array(tmp_path / "new.zarr", "raw", raw, Coordinate(4, 4), Coordinate(40, 40))
    arrays = [LocalArrayIdentifier(tmp_path / "out.zarr", name) for name in ("prediction", "labels")]
    parameters = WatershedPostProcessorParameters(id=0)
    apply_run(stored_run(tmp_path), 1, parameters, source, *arrays, num_workers=WORKERS)
    assert len(set(record.read_text().split())) == WORKERS
