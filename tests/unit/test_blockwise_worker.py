"""Worker modules are found and checked, their arguments arrive, and blocks are counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import daisy.v2 as daisy
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import given
from hypothesis import strategies as st

from dacapo.blockwise import DaCapoBlockwiseTask, run_blockwise
from dacapo.blockwise.worker.call import WorkerCall
from dacapo.blockwise.worker.job import JOB_VARIABLE, Job, write_job
from dacapo.blockwise.worker.place import taken_place
from dacapo.blockwise.worker.process import main
from dacapo.blockwise.worker.taken import blocks_of_dead_workers, taken_block
from dacapo.blockwise.worker.user_modules import load_module
from dacapo.compute_context import ComputeContext
from dacapo.errors import BlockwiseError, ConfigError, NotFoundError, RoiError
from dacapo.options import DaCapoConfig, Options
from dacapo.utils.blocks import BlockGrid, written_region

BLOCK = Roi((0,), (1,))


def write(folder: Path, text: str, name: str = "my_worker.py") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def make_job(worker_file: Path | str, *args: object, **kwargs: object) -> Job:
    return Job.from_json(Job(str(worker_file), list(args), kwargs, "logs", {}).to_json())


TWO_GPUS = """
from dacapo.compute_context.local_torch import LocalTorch, one_gpu

class TwoGpus(LocalTorch):
    def worker_environment(self, worker):
        return one_gpu(worker, 2, None)
"""

# The first worker on GPU 1 is killed while the one on GPU 0 lives on, and waits for another one.
KILL_ONE = """
import os, signal, time
from pathlib import Path

def process_block(block, folder):
    gpu, folder = os.environ["CUDA_VISIBLE_DEVICES"], Path(folder)
    killed = folder / "killed"
    if gpu == "1" and not killed.exists():
        killed.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / f"living_{os.getpid()}").touch()
    end = time.monotonic() + 600
    while len(list(folder.glob("living_*"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    with open(folder / "done", "a") as done:
        done.write(f"{os.getpid()} {gpu}\\n")
    time.sleep(0.05)
"""


class TestJob:
    def test_round_trip(self) -> None:
        job = make_job("w.py", 1, [2.5], path=Path("/a"), number=np.int64(3), roi=Roi((0,), (4,)).shape, nothing=None)
        assert job.args == [1, [2.5]]
        assert job.kwargs == {"path": "/a", "number": 3, "roi": [4], "nothing": None}

    def test_what_cannot_be_sent(self) -> None:
        with pytest.raises(ConfigError, match="is a object; give numbers"):
            Job("w.py", [object()], {}, "", {}).to_json()


class TestModules:
    def test_file(self, tmp_path: Path) -> None:
        file = write(tmp_path, "def process_block(block, *args, **kwargs):\n    return block, args, kwargs\n")
        process = make_job(file, 1, x=2).open()
        assert process is not None
        assert process("block") == ("block", (1,), {"x": 2})

    def test_import_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "some_package").mkdir()
        write(tmp_path / "some_package", "", "__init__.py")
        write(tmp_path / "some_package", "def start_worker(factor):\n    return lambda block: block * factor\n", "w.py")
        monkeypatch.syspath_prepend(tmp_path)
        process = make_job("some_package.w", factor=3).open()
        assert process is not None
        assert process(5) == 15

    def test_click_command(self, tmp_path: Path) -> None:
        text = (
            "import click\n@click.command()\n@click.option('--a')\ndef start_worker(a):\n    return lambda block: a\n"
        )
        process = make_job(write(tmp_path, text), a=7).open()
        assert process is not None
        assert process(None) == 7

    def test_dataclass_in_a_file(self, tmp_path: Path) -> None:
        text = "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int\n"
        assert load_module(write(tmp_path, text)).A(3).x == 3

    def test_worker_without_a_function_per_block(self, tmp_path: Path) -> None:
        assert make_job(write(tmp_path, "def start_worker():\n    pass\n")).open() is None

    def test_start_worker_returns_nonsense(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="returned 5; expected a function of one block"):
            make_job(write(tmp_path, "def start_worker():\n    return 5\n")).open()

    @pytest.mark.parametrize(
        ("name", "text", "error", "message"),
        [
            ("missing.py", None, NotFoundError, ".*missing.py does not exist"),
            ("no_such_package.worker", None, NotFoundError, "no file or module"),
            ("dacapo.no_such_module", None, NotFoundError, "no file or module"),
            ("w.py", "x = 1", ConfigError, "defines no function process_block or start_worker"),
            ("w.py", "process_block = 3", ConfigError, "defines no function"),
            ("w.py", "import no_such_package", BlockwiseError, "ModuleNotFoundError: No module named"),
            ("w.py", "1 / 0", BlockwiseError, "ZeroDivisionError"),
            ("w.py", "def (", BlockwiseError, "SyntaxError"),
            ("text.txt", "hello", BlockwiseError, "should end in .py"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, name: str, text: str | None, error: type[Exception], message: str) -> None:
        source: Path | str = name
        if text is not None:
            source = write(tmp_path, text, name)
        with pytest.raises(error, match=message):
            WorkerCall.of(source, [], {})


def test_worker_that_cannot_start_leaves_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "raise RuntimeError('no licence')")
    job = {"worker_file": str(file), "args": [], "kwargs": {}, "log_dir": str(tmp_path / "logs"), "options": {}}
    (tmp_path / "job.json").write_text(json.dumps(job))
    monkeypatch.setenv(JOB_VARIABLE, str(tmp_path / "job.json"))
    with pytest.raises(BlockwiseError, match="no licence"):
        main()
    assert "no licence" in (tmp_path / "logs" / "start_error.txt").read_text()


class TestStart:
    """How workers that really run get what they need."""

    @pytest.fixture(autouse=True)
    def _cores(self, options: DaCapoConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(2)))

    def test_a_job_larger_than_an_environment_may_be(self, tmp_path: Path) -> None:
        file = write(tmp_path, "def process_block(block, text): assert len(text) == 300_000\n")
        logs = tmp_path / "logs"
        assert run_blockwise(file, Roi((0,), (5,)), BLOCK, BLOCK, 2, 0, log_dir=logs, text="x" * 300_000)
        assert not list(logs.rglob("job.json"))
        assert not list(logs.rglob("place_*"))

    def test_only_the_owner_reads_the_job(self, tmp_path: Path) -> None:
        file = write_job("a password", tmp_path)
        assert file.read_text() == "a password"
        assert file.stat().st_mode & 0o077 == 0

    @pytest.mark.destructive
    def test_a_worker_takes_the_gpu_of_the_one_that_it_replaces(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ComputeContext, "_registry", dict(ComputeContext._registry))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.syspath_prepend(tmp_path)
        write(tmp_path, TWO_GPUS, "two_gpus.py")
        import two_gpus  # type: ignore[import-not-found]  # written just now

        Options.instance(compute_context={"type": two_gpus.TwoGpus.__name__, "config": {}})
        file = write(tmp_path, KILL_ONE)
        assert run_blockwise(file, Roi((0,), (24,)), BLOCK, BLOCK, 2, folder=str(tmp_path), log_dir=tmp_path / "logs")
        lines = [line.split() for line in (tmp_path / "done").read_text().splitlines()]
        pids = {gpu: {pid for pid, other in lines if other == gpu} for gpu in "01"}
        assert len(pids["0"]) == 1, "the worker that lives keeps its GPU for itself"
        assert len(pids["1"]) == 1
        assert (tmp_path / "killed").read_text() not in pids["1"]

    def test_the_place_of_a_worker_is_taken_until_it_ends(self, tmp_path: Path) -> None:
        with taken_place(tmp_path, 5) as (first, lock), taken_place(tmp_path, 6) as (second, _):
            assert (first, second) == (0, 1)
            sleeper = subprocess.Popen(["sleep", "60"], pass_fds=lock)
        try:
            with taken_place(tmp_path, 7) as (third, _):
                assert third == 1, "a process of the first worker lives"
        finally:
            sleeper.kill()
            sleeper.wait()
        with taken_place(tmp_path, 8) as (fourth, _):
            assert fourth == 0

    def test_a_file_system_without_locks(self, tmp_path: Path) -> None:
        with taken_place(tmp_path / "missing", 5) as (number, lock):
            assert (number, lock) == (5, ())


class TestTask:
    def make(self, folder: Path, *args: object, **kwargs: object) -> DaCapoBlockwiseTask:
        file = write(folder, "def process_block(block): pass")
        return DaCapoBlockwiseTask(file, Roi((0,), (5,)), BLOCK, BLOCK, *args, log_dir=folder, **kwargs)

    def test_it_is_a_task(self, options: DaCapoConfig, tmp_path: Path) -> None:
        upstream = self.make(tmp_path)
        task = self.make(tmp_path, 1, 4, 30.0, [upstream])
        assert isinstance(task, daisy.Task)
        assert (task.max_workers, task.max_retries, task.timeout_secs) == (1, 4, 90.0)
        assert task.job.timeout == 30.0, "Daisy comes later, for workers that hang"
        assert task.upstream_tasks == [upstream]
        assert task.task_id != upstream.task_id
        assert task.max_worker_restarts == 5
        assert not task.log_dir.exists()

    def test_the_timeout_of_workers_with_their_own_loop_is_left_to_daisy(
        self, options: DaCapoConfig, tmp_path: Path
    ) -> None:
        file = write(tmp_path, "def start_worker(): pass")
        task = DaCapoBlockwiseTask(file, Roi((0,), (5,)), BLOCK, BLOCK, timeout=30.0, log_dir=tmp_path)
        assert (task.timeout_secs, task.job.timeout) == (30.0, None)

    def test_no_more_workers_than_blocks_and_cores(
        self, options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(3)))
        assert [self.make(tmp_path, workers).num_workers for workers in (1, 2, 3, 4)] == [1, 2, 3, 3]
        Options.instance(compute_context={"type": "Bsub", "config": {}})
        assert [self.make(tmp_path, workers).num_workers for workers in (2, 5, 50)] == [2, 5, 5]

    @pytest.mark.parametrize("wrong", [(0,), (1, -1), (1, 1, 0)])
    def test_numbers_that_make_no_sense(self, options: DaCapoConfig, tmp_path: Path, wrong: tuple[int, ...]) -> None:
        with pytest.raises(ConfigError, match="at least 1 worker"):
            self.make(tmp_path, *wrong)


EXTENT = st.integers(1, 9)


@given(st.data(), st.integers(1, 3))
def test_blocks_are_counted_as_daisy_does(data: st.DataObject, dims: int) -> None:
    draw = lambda low, high: Coordinate(data.draw(st.tuples(*[st.integers(low, high)] * dims)))  # noqa: E731
    write_roi = Roi(draw(-5, 5), draw(1, 4))
    read_roi = write_roi.grow(draw(0, 3), draw(0, 3))
    region = Roi(draw(-9, 9), draw(1, 9))
    total = region.grow(write_roi.begin - read_roi.begin, read_roi.end - write_roi.end)
    assert written_region(total, read_roi, write_roi) == region
    task = daisy.Task("t", total, read_roi, write_roi, fit="shrink")
    assert BlockGrid(region, write_roi.shape).count == np.prod(task.block_grid_shape)


@pytest.mark.parametrize(
    ("total", "read", "write", "message"),
    [
        (Roi((0,), (5,)), Roi((-4,), (9,)), Roi((0,), (1,)), "too small"),
        (Roi((0,), (5,)), Roi((0,), (2,)), Roi((0,), (3,)), "reads at least what it writes"),
        (Roi((0,), (5,)), Roi((0,), (2,)), Roi((0,), (0,)), "reads at least what it writes"),
        (Roi((0, 0), (5, 5)), Roi((0,), (2,)), Roi((0,), (2,)), "as many axes"),
    ],
)
def test_regions_that_do_not_fit(total: Roi, read: Roi, write: Roi, message: str) -> None:
    with pytest.raises(RoiError, match=message):
        written_region(total, read, write)


@given(st.data(), st.integers(1, 2))
def test_conflicting_blocks_are_never_handed_out_together(data: st.DataObject, dims: int) -> None:
    # Joining segments relies on it: the second of two neighbors has to find what the first has written.
    draw = lambda low, high: Coordinate(data.draw(st.tuples(*[st.integers(low, high)] * dims)))  # noqa: E731
    before, after, shape, extent = draw(0, 4), draw(0, 4), draw(1, 3), draw(1, 7)
    write_roi = Roi((0,) * dims, shape)
    total = Roi((0,) * dims, extent).grow(before, after)
    task = daisy.Task(
        "t", total, write_roi.grow(before, after), write_roi, lambda block: None, read_write_conflict=True, fit="shrink"
    )
    scheduler = daisy.Scheduler(task)
    running: list[daisy.Block] = []
    done = 0
    while True:
        while (block := scheduler.acquire_block("t")) is not None:
            for other in running:
                assert not block.read_roi.intersects(other.write_roi)
                assert not other.read_roi.intersects(block.write_roi)
            running.append(block)
        if not running:
            break
        finished = running.pop(data.draw(st.integers(0, len(running) - 1)))
        finished.status = daisy.BlockStatus.SUCCESS
        scheduler.release_block(finished)
        done += 1
    assert done == BlockGrid(written_region(total, write_roi.grow(before, after), write_roi), write_roi.shape).count


def test_workers_load_no_torch() -> None:
    code = (
        "import sys, dacapo.blockwise.segmentation, dacapo.blockwise.operation\n"
        "assert not {'torch', 'gunpowder', 'skimage'} & set(sys.modules), sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class TestTakenBlock:
    """Which block a worker held when it died."""

    BLOCKS = tuple(
        daisy.Block(Roi((0, 0), (40, 9)), Roi((begin, 0), (10, 9)), Roi((begin, 0), (10, 9)), "t", begin)
        for begin in (20, 30)
    )

    def test_the_note_tells_the_block_of_a_dead_worker(self, tmp_path: Path) -> None:
        with taken_block(tmp_path, 3) as taken:
            with taken.of(self.BLOCKS[0]):
                assert blocks_of_dead_workers(tmp_path) == {20: (self.BLOCKS[0].write_roi, 3)}
            assert not blocks_of_dead_workers(tmp_path)
            with taken.of(self.BLOCKS[1]):
                assert blocks_of_dead_workers(tmp_path) == {30: (self.BLOCKS[1].write_roi, 3)}
        assert not list(tmp_path.iterdir())

    def test_a_block_costs_no_file(self, tmp_path: Path) -> None:
        """Files that come and go take longer than all else about a block."""
        with taken_block(tmp_path, 0) as taken:
            before = (tmp_path.stat().st_mtime_ns, [(file.name, file.stat().st_ino) for file in tmp_path.iterdir()])
            for block in self.BLOCKS:
                with taken.of(block):
                    pass
            after = (tmp_path.stat().st_mtime_ns, [(file.name, file.stat().st_ino) for file in tmp_path.iterdir()])
        assert after == before

    def test_without_a_place_for_notes_blocks_are_done_all_the_same(self, tmp_path: Path) -> None:
        with taken_block(tmp_path / "missing", 0) as taken, taken.of(self.BLOCKS[0]):
            assert not blocks_of_dead_workers(tmp_path / "missing")

    @pytest.mark.parametrize("text", ["", " " * 9, "20", "x y", "20 a block of a task"])
    def test_a_note_without_a_block_is_left_out(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "taken_1_5.txt").write_text(text)
        assert not blocks_of_dead_workers(tmp_path)

    @pytest.mark.parametrize("roi", [Roi((-3,), (7,)), Roi((-(2**62),) * 5, (2**62,) * 5)])
    def test_the_region_of_a_block_in_a_note_is_complete(self, tmp_path: Path, roi: Roi) -> None:
        with taken_block(tmp_path, 1) as taken, taken.of(daisy.Block(roi, roi, roi, "t" * 200, 2**63 - 1)):
            assert blocks_of_dead_workers(tmp_path) == {2**63 - 1: (roi, 1)}
