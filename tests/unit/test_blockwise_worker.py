"""Worker modules are found and checked, their arguments arrive, and blocks are counted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import daisy.v2 as daisy
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import given
from hypothesis import strategies as st

from dacapo.blockwise import DaCapoBlockwiseTask
from dacapo.blockwise.blockwise_task import count_blocks, written_region
from dacapo.blockwise.worker import JOB_VARIABLE, Job, check_worker, load_module, main, prepare
from dacapo.errors import BlockwiseError, ConfigError, NotFoundError, RoiError
from dacapo.options import DaCapoConfig, Options

BLOCK = Roi((0,), (1,))


def write(folder: Path, text: str, name: str = "my_worker.py") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def make_job(worker_file: Path | str, *args: object, **kwargs: object) -> Job:
    return Job.from_json(Job(str(worker_file), list(args), kwargs, "logs", {}).to_json())


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
        process = prepare(make_job(file, 1, x=2))
        assert process is not None
        assert process("block") == ("block", (1,), {"x": 2})

    def test_import_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "some_package").mkdir()
        write(tmp_path / "some_package", "", "__init__.py")
        write(tmp_path / "some_package", "def start_worker(factor):\n    return lambda block: block * factor\n", "w.py")
        monkeypatch.syspath_prepend(tmp_path)
        process = prepare(make_job("some_package.w", factor=3))
        assert process is not None
        assert process(5) == 15

    def test_click_command(self, tmp_path: Path) -> None:
        text = (
            "import click\n@click.command()\n@click.option('--a')\ndef start_worker(a):\n    return lambda block: a\n"
        )
        process = prepare(make_job(write(tmp_path, text), a=7))
        assert process is not None
        assert process(None) == 7

    def test_dataclass_in_a_file(self, tmp_path: Path) -> None:
        text = "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int\n"
        assert load_module(write(tmp_path, text)).A(3).x == 3

    def test_worker_without_a_function_per_block(self, tmp_path: Path) -> None:
        assert prepare(make_job(write(tmp_path, "def start_worker():\n    pass\n"))) is None

    def test_start_worker_returns_nonsense(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="returned 5; expected a function of one block"):
            prepare(make_job(write(tmp_path, "def start_worker():\n    return 5\n")))

    @pytest.mark.parametrize(
        ("name", "text", "error", "message"),
        [
            ("missing.py", None, NotFoundError, "there is no file .*missing.py"),
            ("no_such_package.worker", None, NotFoundError, "neither a file nor a module"),
            ("dacapo.no_such_module", None, NotFoundError, "neither a file nor a module"),
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
            check_worker(source)


def test_worker_that_cannot_start_leaves_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "raise RuntimeError('no licence')")
    job = {"worker_file": str(file), "args": [], "kwargs": {}, "log_dir": str(tmp_path / "logs"), "options": {}}
    monkeypatch.setenv(JOB_VARIABLE, json.dumps(job))
    with pytest.raises(BlockwiseError, match="no licence"):
        main()
    assert "no licence" in (tmp_path / "logs" / "start_error.txt").read_text()


class TestTask:
    def make(self, folder: Path, *args: object, **kwargs: object) -> DaCapoBlockwiseTask:
        file = write(folder, "def process_block(block): pass")
        return DaCapoBlockwiseTask(file, Roi((0,), (5,)), BLOCK, BLOCK, *args, log_dir=folder, **kwargs)

    def test_it_is_a_task(self, options: DaCapoConfig, tmp_path: Path) -> None:
        upstream = self.make(tmp_path)
        task = self.make(tmp_path, 1, 4, 30.0, [upstream])
        assert isinstance(task, daisy.Task)
        assert (task.max_workers, task.max_retries, task.timeout_secs) == (1, 4, 30.0)
        assert task.upstream_tasks == [upstream]
        assert task.task_id != upstream.task_id
        assert task.max_worker_restarts == 5
        assert not task.log_dir.exists()

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
    assert count_blocks(total, read_roi, write_roi) == np.prod(task.block_grid_shape)


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
    assert done == count_blocks(total, write_roi.grow(before, after), write_roi)


def test_workers_load_no_torch() -> None:
    code = (
        "import sys, dacapo.blockwise.segmentation, dacapo.blockwise.operation_worker\n"
        "assert not {'torch', 'gunpowder', 'skimage'} & set(sys.modules), sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
