"""What becomes of blockwise work when processes are killed, the disk is full, or data is damaged."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise import run_blockwise
from dacapo.blockwise.journal import Resume, journal_folder
from dacapo.blockwise.scheduling.run_operation import run_operation
from dacapo.blockwise.scheduling.task import DaCapoBlockwiseTask
from dacapo.blockwise.segmentation import lookup_table
from dacapo.blockwise.segmentation.lookup_table import FragmentTable
from dacapo.blockwise.segmentation.workspace import Workspace
from dacapo.blockwise.voxelwise import Threshold
from dacapo.errors import BlockwiseError, DacapoError, StorageError
from dacapo.options import DaCapoConfig
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.files import files_below
from tests.helpers.invert import Invert, make_invert, set_fault, tried
from tests.helpers.processes import Started, is_alive, wait_until
from tests.helpers.volumes import OFFSET, VOXEL_SIZE, stored_values, write_array

pytestmark = pytest.mark.destructive

SHAPE, BLOCK = (4, 4, 12), (4, 4, 2)
BEGINS = [[80, 40, 40 + 8 * i] for i in range(6)]


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)


@pytest.fixture
def operation(tmp_path: Path, values: np.ndarray) -> Invert:
    return make_invert(tmp_path, values, BLOCK)


class TestKilledWorkers:
    def test_one_in_mid_block(self, options: DaCapoConfig, operation: Invert, values: np.ndarray) -> None:
        set_fault(operation.folder, "kill once", BEGINS[2])
        run_operation(operation, 2)
        np.testing.assert_array_equal(stored_values(operation.output), 255 - values)
        assert tried(operation.folder) == sorted([*BEGINS, BEGINS[2]])

    def test_all(self, options: DaCapoConfig, operation: Invert, values: np.ndarray) -> None:
        set_fault(operation.folder, "kill all once", BEGINS[2])
        run_operation(operation, 2)
        np.testing.assert_array_equal(stored_values(operation.output), 255 - values)

    def test_again_and_again(self, options: DaCapoConfig, operation: Invert, values: np.ndarray) -> None:
        set_fault(operation.folder, "kill", BEGINS[2])
        with pytest.raises(BlockwiseError, match=r"(?s)1 of 6 blocks are not done.*its worker died.*\.blocks/logs/"):
            run_operation(operation, 2, max_retries=1)
        tried(operation.folder)
        (operation.folder / "fault").unlink()
        run_operation(operation, 2)
        assert tried(operation.folder) == [BEGINS[2]]
        np.testing.assert_array_equal(stored_values(operation.output), 255 - values)

    def test_a_block_that_another_worker_has_done_since_is_not_among_the_failed(
        self, options: DaCapoConfig, tmp_path: Path
    ) -> None:
        worker = tmp_path / "worker.py"
        worker.write_text(KILLED_ONCE)
        block = Roi((0,), (1,))
        with pytest.raises(BlockwiseError) as raised:
            run_blockwise(worker, Roi((0,), (6,)), block, block, 2, 1, folder=tmp_path, log_dir=tmp_path / "logs")
        assert list((tmp_path / "logs").glob("*/taken_*"))
        missing, failed = str(raised.value).splitlines()
        assert missing.endswith("1 of 6 blocks are not done")
        assert failed.startswith("block [4:5] (1): ValueError: this block is bad")


KILLED_ONCE = """
import os, pathlib, signal

def process_block(block, folder):
    killed = pathlib.Path(folder, "killed")
    if block.write_roi.begin[0] == 2 and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if block.write_roi.begin[0] == 4:
        raise ValueError("this block is bad")
"""
WORKER = """
import os
import signal

def start_worker(how, last=99):
    if how == "import" and "DACAPO_WORKER_JOB" in os.environ:
        raise ImportError("no GPU here")
    def process(block):
        if block.write_roi.begin[0] <= last:
            if how == "raise":
                raise ValueError("this block is bad")
            if how == "exit":
                raise SystemExit("bye")
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "wait":
                import time
                with open(os.path.join(os.path.dirname(__file__), "context"), "w") as context:
                    context.write(os.environ["DAISY_CONTEXT"])
                open(os.path.join(os.path.dirname(__file__), "waiting"), "w").close()
                time.sleep(600)
    return process
"""
STRANGER = """
import sys
import daisy.v2 as daisy

host, port = sys.argv[1:]
client = daisy.Client(daisy.Context(hostname=host, port=port, worker_id=0, task_id="guessed"))
with client.acquire_block() as block:
    print("got", block)
"""
CALLER = """
import sys
from funlib.geometry import Roi
from dacapo import run_blockwise
from dacapo.cli import _Group

if __name__ == "__main__":
    worker, how, last, logs, num_workers = sys.argv[1:]
    command = lambda: run_blockwise(
        worker,
        Roi((0,), (20,)),
        Roi((0,), (1,)),
        Roi((0,), (1,)),
        int(num_workers),
        2,
        how=how,
        last=int(last),
        log_dir=logs,
    )
    _Group("main", callback=command, invoke_without_command=True)([])
"""


class TestWhatIsOnTheTerminal:
    """An error, once; what is more about it is in files."""

    def start(self, folder: Path, how: str, last: int, num_workers: int = 2) -> Started:
        (folder / "worker.py").write_text(WORKER)
        (folder / "caller.py").write_text(CALLER)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
        arguments = [folder / "worker.py", how, str(last), folder / "logs", str(num_workers)]
        return Started([sys.executable, folder / "caller.py", *arguments], env=environment)

    def lines(self, folder: Path, how: str, last: int = 99) -> tuple[list[str], list[str]]:
        """Return what Daisy writes, and the error."""
        with self.start(folder, how, last) as caller:
            lines = caller.communicate()[1].splitlines()
        assert caller.returncode == 1
        (error,) = [number for number, line in enumerate(lines) if line.startswith("Error: ")]
        assert not any("Traceback" in line for line in lines)
        return lines[:error], lines[error:]

    @pytest.mark.parametrize(
        ("how", "message"), [("raise", "ValueError: this block is bad"), ("exit", "SystemExit: bye")]
    )
    def test_blocks_that_fail(self, options: DaCapoConfig, tmp_path: Path, how: str, message: str) -> None:
        noise, error = self.lines(tmp_path, how, 3)
        assert not noise
        assert len(error) == 5
        assert error[0].endswith("4 of 20 blocks are not done")
        assert all(re.search(rf"\): {message} \(.*/block_\d\.txt\)$", line) for line in error[1:])

    def test_workers_that_cannot_start(self, options: DaCapoConfig, tmp_path: Path) -> None:
        noise, error = self.lines(tmp_path, "import")
        assert len(noise) <= 1, "that Daisy gives up"
        assert len(error) == 2
        assert error[0].endswith("20 of 20 blocks are not done")
        assert re.search(r"cannot start: ImportError: no GPU here \(.*/start_error\.txt\)$", error[1])

    def test_workers_that_die(self, options: DaCapoConfig, tmp_path: Path) -> None:
        noise, error = self.lines(tmp_path, "kill")
        deaths = 2 * 3 + 2  # restarts, and the first ones
        assert len(noise) <= deaths + 1, "the loss of each block, and that Daisy gives up"
        blocks = error[2:]
        assert error[0].endswith(f"20 of 20 blocks are not done, {20 - len(blocks)} of them were not tried")
        assert error[1].startswith(f"{deaths} workers died, the last one: ")
        assert "ended with exit code -9" in error[1]
        assert deaths // 3 <= len(blocks) <= deaths
        for line in blocks:
            (log,) = re.findall(r"its worker died or took too long \((.*/worker_\d\.log)\)$", line)
            assert "ended with exit code -9" in Path(log).read_text()

    def test_an_interrupt(self, options: DaCapoConfig, tmp_path: Path) -> None:
        with self.start(tmp_path, "wait", 99) as caller:
            wait_until((tmp_path / "waiting").exists)
            os.killpg(caller.pid, signal.SIGINT)
            text = caller.communicate()[1]
        assert text.splitlines()[-1] == "Error: interrupted; everything saved before is kept"
        assert "Traceback" not in text
        assert len(text.splitlines()) <= 4

    def test_a_stranger_that_does_not_know_the_task_gets_no_block(self, options: DaCapoConfig, tmp_path: Path) -> None:
        with self.start(tmp_path, "wait", 99) as caller:
            wait_until((tmp_path / "waiting").exists)
            known = dict(part.split("=", 1) for part in (tmp_path / "context").read_text().split(":"))
            with Started([sys.executable, "-c", STRANGER, known["hostname"], known["port"]], stdout=-1) as stranger:
                text = caller.communicate()[1]
                assert stranger.communicate()[0] in ("", "got None\n")
        # What is left of Daisy after its panic sometimes aborts the process as it exits, after the message.
        assert caller.returncode in (1, -signal.SIGABRT), text
        assert "Error: Daisy cannot go on handing out blocks" in text
        assert "The same call does the blocks that are missing" in text

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_termination(self, options: DaCapoConfig, tmp_path: Path, workers: int) -> None:
        with self.start(tmp_path, "wait", 99, workers) as caller:
            wait_until((tmp_path / "waiting").exists)
            caller.send_signal(signal.SIGTERM)
            text = caller.communicate()[1]
        assert caller.returncode == 143
        assert text.splitlines()[-1] == "Error: terminated; everything saved before is kept"
        assert "Traceback" not in text


PARENT = """
    import json, sys
    from dacapo.blockwise.operation import BlockwiseOperation
    from dacapo.blockwise.scheduling.run_operation import run_operation

    if __name__ == "__main__":
        operation = BlockwiseOperation.from_settings(json.loads(sys.argv[1]))
        run_operation(operation, int(sys.argv[2]))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_parent_that_is_started_again(
    options: DaCapoConfig, operation: Invert, values: np.ndarray, workers: int, tmp_path: Path
) -> None:
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT))
    set_fault(tmp_path, "wait", BEGINS[3])
    settings = json.dumps(operation.as_settings())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
    done = journal_folder(operation.output) / "invert" / "done" / "c"
    count = 3 if workers == 1 else 5
    with Started([sys.executable, script, settings, workers], env=environment) as parent:
        wait_until(lambda: (tmp_path / "waiting").exists() and sum(marks(done)) >= count)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    pids = {int(pid) for pid in (tmp_path / "pids").read_text().split()}
    assert len(pids) == workers
    wait_until(lambda: not any(map(is_alive, pids)))

    assert sum(marks(done)) == count
    tried(tmp_path)
    (tmp_path / "fault").unlink()
    run_operation(operation, 1)
    assert len(tried(tmp_path)) == len(BEGINS) - count
    np.testing.assert_array_equal(stored_values(operation.output), 255 - values)


def marks(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_fills_up(options: DaCapoConfig, tmp_path: Path, small_disk: Path, workers: int) -> None:
    values = np.random.default_rng(1).integers(0, 256, (32, 32, 512)).astype(np.uint8)  # 512 KiB in 16 blocks
    operation = make_invert(tmp_path, values, (32, 32, 32), small_disk / "out.zarr")
    with pytest.raises(BlockwiseError, match=r"(?s)of 16 blocks are not done.*(disk is full|No space left)"):
        run_operation(operation, workers)
    first = tried(tmp_path)
    assert 4 <= len(first) <= 7 + workers  # it does not go on trying
    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True)
    run_operation(operation, workers)
    np.testing.assert_array_equal(stored_values(operation.output), 255 - values)
    assert len(tried(tmp_path)) <= 16 - (len(first) - workers)


def test_no_room_for_the_marks(options: DaCapoConfig, tmp_path: Path, small_disk: Path) -> None:
    # Written through a mapping into memory, they would end this process with a signal.
    operation = make_invert(tmp_path, np.zeros((64, 64, 32), np.uint8), (1, 1, 1), small_disk / "out.zarr")
    with pytest.raises(DacapoError, match=r"No space left|disk"):
        run_operation(operation)


class LosesMarks(Invert):
    """Cannot reach the marks of its done blocks anymore, once it has begun."""

    def open(self) -> None:
        super().open()
        for file in list(files_below(journal_folder(self.output) / "losesmarks" / "done")):
            file.unlink()
            file.symlink_to(file)  # a loop, which not even root can follow


def test_marks_that_cannot_be_reached_anymore(options: DaCapoConfig, tmp_path: Path) -> None:
    operation = make_invert(tmp_path, np.zeros(SHAPE, np.uint8), BLOCK, kind=LosesMarks)
    with pytest.raises(StorageError, match=r"cannot write .*/losesmarks/done.*: Too many levels of symbolic links"):
        run_operation(operation)


@pytest.mark.parametrize("content", ["", '{"zarr_format": 3, "sha'])
def test_marks_that_a_full_disk_left_unfinished_are_made_again(
    options: DaCapoConfig, operation: Invert, values: np.ndarray, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    def fill(task: DaCapoBlockwiseTask) -> None:
        description = Path(str(task.done_marker_path)) / "done" / "zarr.json"
        description.parent.mkdir(parents=True)
        description.write_text(content)
        raise StorageError("the disk is full")

    monkeypatch.setattr("dacapo.blockwise.scheduling.run_task.allocate_done_markers", fill)
    with pytest.raises(StorageError, match="full"):
        run_operation(operation)
    monkeypatch.undo()
    run_operation(operation)
    np.testing.assert_array_equal(stored_values(operation.output), 255 - values)


def test_no_room_for_the_lookup_table_of_a_segmentation(small_disk: Path) -> None:
    # Written through a mapping into memory as well.
    workspace = Workspace(small_disk)
    fragments = FragmentTable(workspace, 10**6, np.array([0, 10**5]), np.array([0, 1]), np.array([0, 0]))
    with pytest.raises(StorageError, match=r"cannot write .*labels.*No space left"):
        lookup_table._write_labels(workspace.labels_file, fragments, 0)


@pytest.mark.parametrize("how", ["garbage", "empty", "cut", "short"])
def test_a_damaged_chunk_is_named(options: DaCapoConfig, tmp_path: Path, values: np.ndarray, how: str) -> None:
    source = write_array(tmp_path / "in.zarr", "raw", values)
    operation = Threshold(
        input=source,
        output=LocalArrayIdentifier(tmp_path / "out.zarr", "mask"),
        region=Roi(OFFSET, Coordinate(SHAPE) * VOXEL_SIZE),
        block_shape=Coordinate(SHAPE) * VOXEL_SIZE,
        threshold=100,
    )
    chunk = tmp_path / "in.zarr" / "raw" / "0/0/0"
    good = chunk.read_bytes()
    if how == "short":  # well formed, but with too few values
        import numcodecs

        bad = numcodecs.Blosc().encode(values.ravel()[:100])
    else:
        bad = {"garbage": b"x" * len(good), "empty": b"", "cut": good[: len(good) // 2]}[how]
    chunk.write_bytes(bad)
    with pytest.raises(BlockwiseError, match=f"chunk {chunk} is damaged"):
        run_operation(operation, max_retries=0)
    chunk.write_bytes(good)
    run_operation(operation)
    np.testing.assert_array_equal(stored_values(operation.output), values > 100)


def test_a_command_that_is_repeated_does_what_is_missing(
    options: DaCapoConfig, operation: Invert, values: np.ndarray
) -> None:
    set_fault(operation.folder, "raise", BEGINS[1])
    for _ in range(2):
        with pytest.raises(BlockwiseError, match="this block is bad"):
            run_operation(operation, 1, overwrite=False, resume=Resume.ALWAYS, max_retries=0)
    assert tried(operation.folder) == sorted([*BEGINS, BEGINS[1]])
    shutil.rmtree(journal_folder(operation.output) / "logs")  # whatever becomes of those
    (operation.folder / "fault").unlink()
    run_operation(operation, 1, overwrite=False, resume=Resume.ALWAYS)
    assert tried(operation.folder) == [BEGINS[1]]
    np.testing.assert_array_equal(stored_values(operation.output), 255 - values)
