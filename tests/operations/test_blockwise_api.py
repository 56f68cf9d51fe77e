"""Worker modules and segmentation over blocks: results, faults of real processes, and the command line."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from funlib.geometry import Coordinate, Roi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dacapo import run_blockwise, segment_blockwise
from dacapo.blockwise import DaCapoBlockwiseTask
from dacapo.cli import cli, get_rois, unpack_ctx
from dacapo.errors import (
    BlockwiseError,
    ConfigError,
    DacapoError,
    DtypeError,
    NotFoundError,
    OutputExistsError,
    RoiError,
)
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray, ZarrArray
from dacapo.options import DaCapoConfig, Options
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.cluster import install_bsub
from tests.helpers.segments import same_parts
from tests.helpers.volumes import OFFSET, VOXEL_SIZE, write_array

# Leaves a file per block, with the process that wrote it.
MARK = """
import os
from pathlib import Path

def process_block(block, folder, fault=None, place=None):
    begin = block.write_roi.begin[0]
    if begin == place and fault == "raise":
        raise ValueError("this block is bad")
    threads = os.environ.get("OMP_NUM_THREADS")
    (Path(folder) / f"{begin}").write_text(f"{os.getpid()} {block.write_roi.end[0]} {threads}")
"""

COMPONENTS = """
from scipy import ndimage

def segment_function(input_array, roi, connectivity=1, shift=0):
    values = input_array[roi]
    labels, _ = ndimage.label(values, ndimage.generate_binary_structure(values.ndim, connectivity))
    return labels + shift * (labels > 0)
"""

# Asks for blocks itself; the place is that of what it does with each.
OWN_LOOP = """
import daisy.v2 as daisy, pathlib, time

def start_worker(folder=None):
    client = daisy.Client()
    while True:
        with client.acquire_block() as block:
            if block is None:
                return
            {}
"""

TOTAL, BLOCK = Roi((0,), (10,)), Roi((0,), (3,))


@pytest.fixture(autouse=True)
def _temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs of failed runs stay with the other files of the tests."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))


@pytest.fixture
def processes(options: DaCapoConfig) -> DaCapoConfig:
    """Options with which workers are processes, on a machine with one core too."""
    return Options.instance(compute_context={"type": "LocalTorch", "config": {"distribute_workers": True}})


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    file = tmp_path / "mark.py"
    file.write_text(MARK)
    return file


@pytest.fixture
def done(tmp_path: Path) -> Path:
    folder = tmp_path / "done"
    folder.mkdir()
    return folder


@pytest.fixture
def components(tmp_path: Path) -> Path:
    file = tmp_path / "components.py"
    file.write_text(COMPONENTS)
    return file


def blocks_done(folder: Path) -> list[int]:
    return sorted(int(file.name) for file in folder.iterdir() if file.name.isdigit())


class TestRunBlockwise:
    def test_one_worker_works_in_this_process(self, options: DaCapoConfig, mark: Path, done: Path) -> None:
        assert run_blockwise(mark, TOTAL, BLOCK, BLOCK, 1, folder=done) is True
        assert blocks_done(done) == [0, 3, 6, 9]
        assert {(done / name).read_text().split()[0] for name in "0369"} == {str(os.getpid())}
        assert (done / "9").read_text().split()[1] == "10"

    def test_workers_are_processes(self, processes: DaCapoConfig, mark: Path, done: Path, tmp_path: Path) -> None:
        logs = tmp_path / "logs"
        assert run_blockwise(mark, TOTAL, BLOCK, BLOCK, 2, folder=done, log_dir=logs) is True
        assert blocks_done(done) == [0, 3, 6, 9]
        assert str(os.getpid()) not in {(done / name).read_text().split()[0] for name in "0369"}
        cores = len(os.sched_getaffinity(0))
        assert int((done / "0").read_text().split()[2]) * min(2, cores) <= cores
        written = [log.read_text() for log in logs.glob("dacapo_mark_*/worker_*.log")]
        assert written
        assert "RuntimeWarning" not in "".join(written)
        assert not list(logs.glob("dacapo_mark_*/tracking"))

    def test_one_worker_is_a_process_if_the_context_says_so(
        self, processes: DaCapoConfig, mark: Path, done: Path
    ) -> None:
        run_blockwise(mark, Roi((0,), (3,)), BLOCK, BLOCK, 1, folder=done)
        assert (done / "0").read_text().split()[0] != str(os.getpid())

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_block_that_raises(
        self, options: DaCapoConfig, mark: Path, done: Path, tmp_path: Path, workers: int
    ) -> None:
        logs = tmp_path / "logs"
        with pytest.raises(BlockwiseError) as raised:
            run_blockwise(mark, TOTAL, BLOCK, BLOCK, workers, 1, folder=done, fault="raise", place=6, log_dir=logs)
        message = str(raised.value)
        assert "1 of 4 blocks are not done" in message
        assert "[6:9] (3): ValueError: this block is bad" in message
        (report,) = logs.glob("dacapo_mark_*/block_*.txt")
        assert str(report) in message
        assert "Traceback" in report.read_text()
        assert blocks_done(done) == [0, 3, 9]

    def test_an_error_of_several_lines(self, options: DaCapoConfig, tmp_path: Path) -> None:
        file = tmp_path / "lines.py"
        file.write_text("def process_block(block):\n    raise ValueError('bad block\\nsecond line')\n")
        with pytest.raises(BlockwiseError, match=r"\[0:3\] \(3\): ValueError: bad block \("):
            run_blockwise(file, TOTAL, BLOCK, BLOCK, 1, 0, log_dir=tmp_path / "logs")
        (report, *_) = (tmp_path / "logs").glob("*/block_0.txt")
        assert "second line" in report.read_text()

    def test_wrong_numbers_leave_no_trace(self, options: DaCapoConfig, mark: Path, done: Path, tmp_path: Path) -> None:
        more = {"folder": done, "tracking_path": tmp_path / "tracking"}
        for numbers in ((0, 1, None), (1, -1, None), (1, 1, 0.0)):
            with pytest.raises(ConfigError, match="expected at least 1 worker"):
                run_blockwise(mark, TOTAL, BLOCK, BLOCK, *numbers, **more)
        with pytest.raises(RoiError):
            run_blockwise(mark, TOTAL, Roi((0,), (2,)), BLOCK, 1, **more)
        with pytest.raises(ConfigError, match="unexpected keyword argument 'fold'; it takes"):
            run_blockwise(mark, TOTAL, BLOCK, BLOCK, 1, fold=done, **more)
        assert not (tmp_path / "tracking").exists()

    def test_a_call_that_is_made_again_goes_on(
        self, options: DaCapoConfig, mark: Path, done: Path, tmp_path: Path
    ) -> None:
        more = {"folder": done, "tracking_path": tmp_path / "tracking"}
        mark.write_text(MARK.replace('fault == "raise"', '(Path(folder) / "bad").exists() and begin == 6'))
        (done / "bad").touch()
        with pytest.raises(BlockwiseError, match="this block is bad"):
            run_blockwise(mark, TOTAL, BLOCK, BLOCK, 1, 0, place=6, **more)
        assert blocks_done(done) == [0, 3, 9]
        for file in done.iterdir():
            file.unlink()
        with pytest.raises(OutputExistsError, match=r"kwargs\.place was 6, is 3"):
            run_blockwise(mark, TOTAL, BLOCK, BLOCK, 1, 0, place=3, **more)
        run_blockwise(mark, TOTAL, BLOCK, BLOCK, 1, 0, place=6, **more)
        assert blocks_done(done) == [6]

    def test_a_module_that_cannot_be_loaded_is_an_error_at_once(self, options: DaCapoConfig, tmp_path: Path) -> None:
        file = tmp_path / "broken.py"
        file.write_text("import no_such_package")
        with pytest.raises(BlockwiseError, match="No module named 'no_such_package'"):
            run_blockwise(file, TOTAL, BLOCK, BLOCK, 2)
        with pytest.raises(NotFoundError, match=r"missing\.py"):
            run_blockwise(tmp_path / "missing.py", TOTAL, BLOCK, BLOCK, 2)

    def test_a_module_that_only_workers_cannot_load(self, processes: DaCapoConfig, tmp_path: Path) -> None:
        file = tmp_path / "broken.py"
        file.write_text(
            "import os\n"
            "def process_block(block): pass\n"
            "if 'DACAPO_WORKER_JOB' in os.environ:\n"
            "    with open(os.path.dirname(__file__) + '/tries', 'a') as tries: tries.write('x')\n"
            "    raise ImportError('no GPU here')\n"
        )
        with pytest.raises(BlockwiseError, match=r"cannot start.*no GPU here"):
            run_blockwise(file, TOTAL, BLOCK, BLOCK, 2)
        assert len((tmp_path / "tries").read_text()) <= 2

    @pytest.mark.slow
    def test_blocks_that_take_too_long(self, processes: DaCapoConfig, tmp_path: Path) -> None:
        # The first four take too long, each in two attempts. Were the ends of workers counted in all, there would be
        # no more than six, and the later blocks would not be tried.
        file = tmp_path / "slow.py"
        file.write_text(
            "import hashlib, pathlib, time\n"
            "def process_block(block, folder):\n"
            "    begin = block.write_roi.begin[0]\n"
            "    if begin < 12:\n"
            "        with open(pathlib.Path(folder) / f'tried {begin}', 'a') as tried:\n"
            "            tried.write('x')\n"
            "        if begin == 0:  # in compiled code\n"
            "            hashlib.pbkdf2_hmac('sha256', b'', b'', 2 * 10**9)\n"
            "        time.sleep(600)\n"
            "    (pathlib.Path(folder) / str(begin)).touch()\n"
        )
        done = tmp_path / "done"
        done.mkdir()
        with pytest.raises(BlockwiseError) as caught:
            run_blockwise(file, Roi((0,), (36,)), BLOCK, BLOCK, 2, 1, 4, folder=done, log_dir=tmp_path / "logs")
        first, *failed = str(caught.value).splitlines()
        assert first.endswith(": 4 of 12 blocks are not done")
        assert [line.partition(" (/")[0] for line in failed] == [
            f"block [{begin}:{begin + 3}] (3): its worker died or took too long" for begin in range(0, 12, 3)
        ]
        assert {file.name: file.read_text() for file in done.glob("tried *")} == {
            f"tried {begin}": "xx" for begin in range(0, 12, 3)
        }
        assert blocks_done(done) == [*range(12, 36, 3)]
        logs = "".join(log.read_text() for log in (tmp_path / "logs").glob("*/worker_*.log"))
        assert "in process_block" in logs, "where it was"
        assert logs.count("its block took too long, so another worker takes its place") == 8

    def test_a_worker_with_its_own_loop_that_takes_too_long(self, processes: DaCapoConfig, tmp_path: Path) -> None:
        file = tmp_path / "own.py"
        file.write_text(OWN_LOOP.format("time.sleep(60 * (block.write_roi.begin[0] == 0))"))
        with pytest.raises(BlockwiseError, match=r"(?s)1 of 4 .*took too long"):
            run_blockwise(file, TOTAL, BLOCK, BLOCK, 2, 0, 4, log_dir=tmp_path / "logs")
        logs = "".join(log.read_text() for log in (tmp_path / "logs").glob("*/worker_*.log"))
        assert "ended with exit code 87" in logs, "by which Daisy's end of a worker is known"

    def test_a_worker_with_its_own_loop(self, processes: DaCapoConfig, done: Path, tmp_path: Path) -> None:
        file = tmp_path / "own.py"
        file.write_text(OWN_LOOP.format("(pathlib.Path(folder) / str(block.write_roi.begin[0])).touch()"))
        assert run_blockwise(file, TOTAL, BLOCK, BLOCK, 2, folder=done)
        assert blocks_done(done) == [0, 3, 6, 9]

    def test_upstream_tasks_come_first(self, processes: DaCapoConfig, mark: Path, done: Path, tmp_path: Path) -> None:
        file = tmp_path / "second.py"
        file.write_text(
            "import pathlib\n"
            "def process_block(block, folder):\n"
            "    assert (pathlib.Path(folder) / str(block.write_roi.begin[0])).exists()\n"
        )
        first = DaCapoBlockwiseTask(mark, TOTAL, BLOCK, BLOCK, 1, folder=done)
        assert run_blockwise(file, TOTAL, BLOCK, BLOCK, 1, 0, upstream_tasks=[first], folder=done)
        first = DaCapoBlockwiseTask(mark, TOTAL, BLOCK, BLOCK, 1, 0, None, None, done, fault="raise", place=3)
        with pytest.raises(BlockwiseError, match="this block is bad"):
            run_blockwise(file, TOTAL, BLOCK, BLOCK, 1, 0, upstream_tasks=[first], folder=done)

    def test_workers_see_the_settings_of_this_process(self, options: DaCapoConfig, done: Path, tmp_path: Path) -> None:
        file = tmp_path / "settings.py"
        file.write_text(
            "from dacapo.options import Options\n"
            "from pathlib import Path\n"
            "def process_block(block, folder):\n"
            "    (Path(folder) / 'base').write_text(str(Options.instance().runs_base_dir))\n"
        )
        context = {"type": "LocalTorch", "config": {"distribute_workers": True}}
        Options.instance(runs_base_dir=tmp_path / "elsewhere", compute_context=context)
        run_blockwise(file, TOTAL, BLOCK, BLOCK, 2, folder=done)
        assert (done / "base").read_text() == str(tmp_path / "elsewhere")

    def test_jobs_of_a_cluster(
        self, options: DaCapoConfig, mark: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = install_bsub(tmp_path, monkeypatch)
        monkeypatch.chdir(tmp_path)
        Options.instance(compute_context={"type": "Bsub", "config": {"num_gpus": 0, "num_cpus": 3}})
        assert run_blockwise(mark, TOTAL, BLOCK, BLOCK, 2, folder=done)
        assert blocks_done(done) == [0, 3, 6, 9]
        jobs = [json.loads(line) for line in record.read_text().splitlines()]
        assert len(jobs) == 2
        assert all(job[:5] == ["-K", "-q", "local", "-n", "3"] and "-gpu" not in job for job in jobs)


def segment(
    folder: Path, values: np.ndarray, file: Path, block: tuple[int, ...], context: tuple[int, ...], **kwargs: object
) -> np.ndarray:
    """Segment values in blocks; block and context are in voxels."""
    voxel_size, offset = VOXEL_SIZE[: values.ndim], OFFSET[: values.ndim]
    identifier = write_array(folder / "in.zarr", "raw", values, Coordinate(voxel_size), Coordinate(offset))
    array = ZarrArray.open_from_array_identifier(identifier)
    write_roi = Roi((0,) * values.ndim, Coordinate(block) * array.voxel_size)
    arguments: dict[str, object] = {"num_workers": 1, "total_roi": array.roi, "read_roi": write_roi, **kwargs}
    assert segment_blockwise(
        file,
        Coordinate(context) * array.voxel_size,
        write_roi=write_roi,
        input_container=folder / "in.zarr",
        input_dataset="raw",
        output_container=folder / "out.zarr",
        output_dataset="labels",
        **arguments,  # type: ignore[arg-type]
    )
    output = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(folder / "out.zarr", "labels"))
    assert output.dtype == np.uint64
    return output[output.roi]


class TestSegmentBlockwise:
    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data(), dims=st.sampled_from([2, 3]))
    def test_components_equal_those_of_the_whole(
        self, options: DaCapoConfig, components: Path, data: st.DataObject, dims: int
    ) -> None:
        draw = lambda low, high: data.draw(st.tuples(*[st.integers(low, high)] * dims))  # noqa: E731
        shape, context = draw(1, 6), draw(1, 3)
        block = tuple(max(b, s // 4) for b, s in zip(draw(1, 8), shape, strict=True))
        seed, density = data.draw(st.integers(0, 1000)), data.draw(st.sampled_from([0.3, 0.5, 0.7]))
        connectivity = data.draw(st.integers(1, dims))
        values = (np.random.default_rng(seed).random(shape) < density).astype(np.uint8)
        with tempfile.TemporaryDirectory() as folder:
            labels = segment(Path(folder), values, components, block, context, connectivity=connectivity)
            assert sorted(p.name for p in Path(folder).iterdir()) == ["in.zarr", "out.zarr"]
        expected, count = ndimage.label(values, ndimage.generate_binary_structure(dims, connectivity))
        assert same_parts(labels, expected)
        assert set(np.unique(labels)) - {0} == set(range(1, count + 1))

    def test_with_worker_processes(self, processes: DaCapoConfig, components: Path, tmp_path: Path) -> None:
        values = (np.random.default_rng(1).random((20, 21, 22)) < 0.3).astype(np.uint8)
        labels = segment(tmp_path, values, components, (7, 6, 8), (1, 1, 1), num_workers=2)
        expected, count = ndimage.label(values)
        assert same_parts(labels, expected)
        assert labels.max() == count

    def test_a_winding_path_through_all_blocks(self, options: DaCapoConfig, components: Path, tmp_path: Path) -> None:
        values = np.zeros((15, 15), dtype=np.uint8)
        values[::2] = 1
        values[1::4, -1] = values[3::4, 0] = 1
        assert set(np.unique(segment(tmp_path, values, components, (4, 4), (1, 1)))) == {0, 1}

    def test_ids_of_a_function_may_be_large(self, options: DaCapoConfig, components: Path, tmp_path: Path) -> None:
        values = (np.random.default_rng(2).random((12, 12)) < 0.4).astype(np.uint8)
        labels = segment(tmp_path, values, components, (5, 5), (2, 2), shift=2**62)
        assert same_parts(labels, ndimage.label(values)[0])

    def test_part_of_the_input(self, options: DaCapoConfig, components: Path, tmp_path: Path) -> None:
        values = np.ones((9, 9), dtype=np.uint8)
        roi = Roi(OFFSET[:2], Coordinate(3, 9) * Coordinate(VOXEL_SIZE[:2]))
        labels = segment(tmp_path, values, components, (2, 4), (1, 1), total_roi=roi)
        assert labels.shape == (3, 9)
        assert set(np.unique(labels)) == {1}

    def test_read_region_counts_as_context(self, options: DaCapoConfig, components: Path, tmp_path: Path) -> None:
        values = np.ones((9, 9), dtype=np.uint8)
        read_roi = Roi((-8, -4), (32, 16))
        labels = segment(tmp_path, values, components, (2, 2), (0, 0), read_roi=read_roi)
        assert labels.shape == (7, 7)
        assert set(np.unique(labels)) == {1}

    def test_kept_folder_and_existing_output(self, options: DaCapoConfig, components: Path, tmp_path: Path) -> None:
        values = np.ones((6, 6), dtype=np.uint8)
        segment(tmp_path, values, components, (3, 3), (1, 1), keep_tmpdir=True)
        folder = tmp_path / "out.zarr" / ".labels.blocks"
        fragments = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(folder / "fragments.zarr", "fragments"))
        assert len(np.unique(fragments[fragments.roi])) == 4
        with pytest.raises(OutputExistsError, match="other parameters"):
            segment_again(tmp_path, components, (2, 3))
        with pytest.raises(ConfigError, match="same chunk"):
            segment_again(tmp_path, components, (2, 3), into_existing=True)
        assert segment_again(tmp_path, components, (2, 3), overwrite=True)

    def test_foreign_output_is_kept(self, options: DaCapoConfig, components: Path, tmp_path: Path) -> None:
        values = np.ones((6, 6), dtype=np.uint8)
        write_array(tmp_path / "in.zarr", "raw", values, Coordinate(8, 4), Coordinate(80, 40))
        write_array(tmp_path / "out.zarr", "labels", values, Coordinate(8, 4), Coordinate(80, 40))
        with pytest.raises(OutputExistsError, match="not written by dacapo"):
            segment_again(tmp_path, components, (3, 3), overwrite=True)

    def test_too_many_segments_for_the_output(self, options: DaCapoConfig, components: Path, tmp_path: Path) -> None:
        values = np.indices((30, 30)).sum(axis=0).astype(np.uint8) % 2
        write_array(tmp_path / "in.zarr", "raw", values, Coordinate(8, 4), Coordinate(80, 40))
        output = write_array(tmp_path / "out.zarr", "labels", 0 * values, Coordinate(8, 4), Coordinate(80, 40))
        with pytest.raises(DtypeError, match="450 segments are more than uint8 can count"):
            segment_again(tmp_path, components, (30, 30))
        array = ZarrArray.open_from_array_identifier(output)
        assert not array[array.roi].any()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("return input_array[roi][:-1]", "expected whole numbers of shape"),
            ("return input_array[roi] * 0.5", "expected whole numbers"),
            ("return -input_array[roi].astype(int)", "expected none below 0"),
            ("raise KeyError('seeds')", "KeyError: 'seeds'"),
        ],
    )
    def test_function_that_does_wrong(self, options: DaCapoConfig, tmp_path: Path, text: str, message: str) -> None:
        file = tmp_path / "wrong.py"
        file.write_text(f"def segment_function(input_array, roi):\n    {text}\n")
        with pytest.raises(BlockwiseError, match=message):
            segment(tmp_path, np.ones((6, 6), dtype=np.uint8), file, (3, 3), (1, 1))
        assert list(tmp_path.glob("out.zarr/.labels.blocks/logs/dacapo_segment_*/block_*.txt"))

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"context": (1, 0)}, ConfigError, "at least one voxel"),
            ({"context": (1, 1), "min_overlap": 1.0}, ConfigError, "min_overlap"),
            ({"context": (1, 1), "total_roi": Roi((0, 0), (800, 40))}, RoiError, "not inside"),
            ({"context": (1, 1), "read_roi": Roi((0, 0), (8, 4))}, RoiError, "reads at least"),
        ],
    )
    def test_mistakes_leave_nothing_behind(
        self,
        options: DaCapoConfig,
        components: Path,
        tmp_path: Path,
        arguments: dict[str, object],
        error: type[DacapoError],
        message: str,
    ) -> None:
        with pytest.raises(error, match=message):
            segment(tmp_path, np.ones((6, 6), np.uint8), components, (3, 3), **arguments)  # type: ignore[arg-type]
        assert not list(tmp_path.glob("out*"))


def segment_again(folder: Path, file: Path, block: tuple[int, ...], **kwargs: object) -> bool:
    array = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(folder / "in.zarr", "raw"))
    write_roi = Roi((0,) * array.dims, Coordinate(block) * array.voxel_size)
    return segment_blockwise(
        file,
        8,
        array.roi,
        write_roi,
        write_roi,
        1,
        input_container=folder / "in.zarr",
        input_dataset="raw",
        output_container=folder / "out.zarr",
        output_dataset="labels",
        **kwargs,  # type: ignore[arg-type]
    )


def run_cli(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)))


THRESHOLD = """
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier

def start_worker(input_container, input_dataset, output_container, output_dataset, threshold, invert=False):
    source = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(input_container, input_dataset), mode="r")
    output = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(output_container, output_dataset))
    def process(block):
        values = (source[block.write_roi] > threshold) ^ invert
        output[block.write_roi] = values[None] if "c" in output.axes else values
    return process
"""


class TestCommands:
    @pytest.fixture
    def raw(self, tmp_path: Path) -> np.ndarray:
        values = np.random.default_rng(5).integers(0, 256, (10, 11, 12)).astype(np.uint8)
        write_array(tmp_path / "in.zarr", "raw", values)
        return values

    @pytest.fixture
    def worker(self, tmp_path: Path) -> Path:
        file = tmp_path / "threshold.py"
        file.write_text(THRESHOLD)
        return file

    def command(self, name: str, folder: Path, file: Path, *more: object) -> Result:
        return run_cli(
            *[name, folder / "in.zarr", "raw", folder / "out.zarr", "result", file],
            *["--read-roi-size", "[40,20,20]", "--write-roi-size", "[24,12,12]", *more],
        )

    def result(self, folder: Path) -> ZarrArray:
        return ZarrArray.open_from_array_identifier(LocalArrayIdentifier(folder / "out.zarr", "result"))

    @pytest.mark.parametrize("workers", [1, 2])
    def test_run_blockwise(
        self, options: DaCapoConfig, tmp_path: Path, raw: np.ndarray, worker: Path, workers: int
    ) -> None:
        got = self.command("run-blockwise", tmp_path, worker, "--num-workers", workers, "--threshold", 100, "--invert")
        assert got.exit_code == 0, got.output
        assert got.output.strip().endswith(str(tmp_path / "out.zarr" / "result"))
        output = self.result(tmp_path)
        assert output.dtype == np.uint8
        assert output.roi == Roi(OFFSET, Coordinate(raw.shape) * VOXEL_SIZE)
        np.testing.assert_array_equal(output[output.roi], raw <= 100)

    def test_channels_type_and_region(
        self, options: DaCapoConfig, tmp_path: Path, raw: np.ndarray, worker: Path
    ) -> None:
        more = ["--total-roi", "[96:144,44:80,40:60]", "--channels-out", 1, "--output-dtype", "float32"]
        got = self.command("run-blockwise", tmp_path, worker, "--num-workers", 1, *more, "--threshold=100")
        assert got.exit_code == 0, got.output
        output = self.result(tmp_path)
        assert output.dtype == np.float32
        np.testing.assert_array_equal(output[output.roi], raw[None, 2:8, 1:10, :5] > 100)

    def test_segment_blockwise(self, options: DaCapoConfig, tmp_path: Path, components: Path, raw: np.ndarray) -> None:
        values = (raw > 170).astype(np.uint8)
        write_array(tmp_path / "in.zarr", "mask", values)
        ZarrArray.open_from_array_identifier(LocalArrayIdentifier(tmp_path / "in.zarr", "raw"))[
            Roi(OFFSET, Coordinate(raw.shape) * VOXEL_SIZE)
        ] = values
        more = ["--context", "[8,4,4]", "--num-workers", 1, "--connectivity", 3]
        for again in ([], ["--overwrite"]):
            got = self.command("segment-blockwise", tmp_path, components, *again, *more)
            assert got.exit_code == 0, got.output
        output = self.result(tmp_path)
        expected, count = ndimage.label(values, np.ones((3, 3, 3)))
        assert same_parts(output[output.roi], expected)
        assert output[output.roi].max() == count

    @pytest.mark.parametrize(
        ("name", "more", "message"),
        [
            ("run-blockwise", ["--output-dtype", "colour", "--threshold", 1], "not a data type"),
            ("run-blockwise", ["--write-roi-size", "[24,12]"], "expected 3 numbers"),
            ("run-blockwise", ["--write-roi-size", "[20,12,12]"], "multiples of the voxel size"),
            ("run-blockwise", ["--write-roi-size", "[32,12,12]"], "the same context on both sides"),
            ("run-blockwise", ["--write-roi-size", "a"], "not an extent per axis"),
            ("run-blockwise", ["--total-roi", "[0:800,44:80,40:60]"], "not inside"),
            ("segment-blockwise", ["--context", "[8,4,4]"], "no function segment_function"),
            ("segment-blockwise", ["--context", "[8,4,4]", "--channels-out", 2], "no channels"),
        ],
    )
    def test_mistakes_are_one_line_and_leave_nothing(
        self,
        options: DaCapoConfig,
        tmp_path: Path,
        raw: np.ndarray,
        worker: Path,
        name: str,
        more: list[object],
        message: str,
    ) -> None:
        got = self.command(name, tmp_path, worker, "--num-workers", 1, *more)
        assert got.exit_code in (1, 2)
        (error,) = [line for line in got.stderr.splitlines() if line.startswith("Error")]
        assert message in error
        assert not (tmp_path / "out.zarr").exists()

    def test_failed_blocks_and_existing_outputs(
        self, options: DaCapoConfig, tmp_path: Path, raw: np.ndarray, worker: Path
    ) -> None:
        arguments = ["--num-workers", 1, "--max-retries", 0, "--threshold"]
        got = self.command("run-blockwise", tmp_path, worker, *arguments, "high")
        assert got.exit_code == 1
        (start,) = [number for number, line in enumerate(got.stderr.splitlines()) if line.startswith("Error")]
        lines = got.stderr.splitlines()[start:]
        assert "64 of 64 blocks are not done" in lines[0]
        assert len(lines) == 12
        assert all(line.startswith("block [") for line in lines[1:11])
        everything = re.fullmatch(r"and 54 more blocks, all in (.*)", lines[11])
        assert everything
        assert len(Path(everything[1]).read_text().splitlines()) == 64
        got = self.command("run-blockwise", tmp_path, worker, *arguments, 100)
        assert (
            'started with other parameters, so it cannot be resumed: kwargs.threshold was "high", is 100' in got.stderr
        )
        assert not self.result(tmp_path)[Roi(OFFSET, VOXEL_SIZE)].any()
        got = self.command("run-blockwise", tmp_path, worker, "--overwrite", *arguments, 100)
        assert got.exit_code == 0, got.output
        np.testing.assert_array_equal(self.result(tmp_path)[self.result(tmp_path).roi], raw > 100)

    def test_a_finished_segmentation_of_other_parameters_is_kept(
        self, options: DaCapoConfig, tmp_path: Path, raw: np.ndarray, components: Path, worker: Path
    ) -> None:
        source = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(tmp_path / "in.zarr", "raw"))
        source[source.roi] = (raw > 170).astype(np.uint8)
        more = ["--context", "[8,4,4]", "--num-workers", 1, "--connectivity"]
        assert self.command("segment-blockwise", tmp_path, components, *more, 1).exit_code == 0
        before = self.result(tmp_path)[self.result(tmp_path).roi]
        for arguments in (
            ["segment-blockwise", tmp_path, components, *more, 3],
            ["run-blockwise", tmp_path, worker, "--num-workers", 1, "--threshold", 100],
        ):
            got = self.command(*arguments)
            assert got.exit_code == 1
            assert "started with other parameters" in got.stderr
            np.testing.assert_array_equal(self.result(tmp_path)[self.result(tmp_path).roi], before)
        assert self.command("segment-blockwise", tmp_path, components, *more, 1).exit_code == 0, "nothing to do"
        (tmp_path / "out.zarr" / ".result.blocks" / "parameters.json").unlink()
        got = self.command("segment-blockwise", tmp_path, components, *more, 3)
        assert got.exit_code == 1
        assert "exists already" in got.stderr
        got = self.command("segment-blockwise", tmp_path, components, "--overwrite", *more, 3)
        assert got.exit_code == 0, got.output
        assert self.result(tmp_path)[self.result(tmp_path).roi].max() != before.max()

    def test_an_image_is_not_segmented_over(
        self, options: DaCapoConfig, tmp_path: Path, raw: np.ndarray, components: Path, worker: Path
    ) -> None:
        image = ["--num-workers", 1, "--threshold", 100]
        assert self.command("run-blockwise", tmp_path, worker, *image).exit_code == 0
        got = self.command("segment-blockwise", tmp_path, components, "--context", "[8,4,4]", "--num-workers", 1)
        assert got.exit_code == 1
        assert "exists already" in got.stderr or "other parameters" in got.stderr
        np.testing.assert_array_equal(self.result(tmp_path)[self.result(tmp_path).roi], raw > 100)
        # In Python it has to be asked for, and then only a segmentation is written into.
        for into in (None, True, False):
            with pytest.raises(OutputExistsError, match="other parameters"):
                segment_blockwise(
                    components,
                    8,
                    self.result(tmp_path).roi,
                    Roi((0, 0, 0), (24, 12, 12)),
                    Roi((0, 0, 0), (24, 12, 12)),
                    1,
                    input_container=tmp_path / "in.zarr",
                    input_dataset="raw",
                    output_container=tmp_path / "out.zarr",
                    output_dataset="result",
                    into_existing=into,
                )

    @pytest.mark.parametrize(
        ("name", "more", "message"),
        [
            ("run-blockwise", ["--threshold", 100, "--timeout", 0], "a timeout above 0 or none"),
            ("run-blockwise", ["--threshold", 100, "--timeout", "nan"], "a timeout above 0 or none"),
            ("run-blockwise", ["--threshold", 100, "--num-worker", 1], "argument 'num_worker'; it takes (input_cont"),
            ("run-blockwise", [], "missing a required argument: 'threshold'"),
            ("segment-blockwise", ["--context", "[8,4,4]", "--timeout", -1], "a timeout above 0 or none"),
            ("segment-blockwise", ["--context", "[8,4,4]", "--conectivity", 1], "argument 'conectivity'"),
        ],
    )
    def test_wrong_arguments_are_found_before_anything_is_written(
        self,
        options: DaCapoConfig,
        tmp_path: Path,
        raw: np.ndarray,
        worker: Path,
        components: Path,
        name: str,
        more: list[object],
        message: str,
    ) -> None:
        file = worker if name == "run-blockwise" else components
        got = self.command(name, tmp_path, file, "--num-workers", 2, *more)
        assert got.exit_code == 1
        (error,) = got.stderr.splitlines()
        assert message in error
        assert not (tmp_path / "out.zarr").exists()

    def test_code_that_was_changed(self, options: DaCapoConfig, tmp_path: Path, raw: np.ndarray, worker: Path) -> None:
        arguments = ["--num-workers", 1, "--threshold", 100]
        assert self.command("run-blockwise", tmp_path, worker, *arguments).exit_code == 0
        worker.write_text(THRESHOLD.replace(">", "<"))
        assert "code was" in self.command("run-blockwise", tmp_path, worker, *arguments).stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ([], {})),
        (["--threshold", "0.5", "--offset=-3"], ([], {"threshold": 0.5, "offset": -3})),
        (["--bias", "-0.5", "--min-size", "[1, 2]"], ([], {"bias": -0.5, "min_size": [1, 2]})),
        (["a", "3", "--flag", "--name", "x y"], (["a", 3], {"flag": True, "name": "x y"})),
        (["--a", "None", "--b", "true", "--c", "False", "--d="], ([], {"a": None, "b": True, "c": False, "d": ""})),
        (["--a", "1", "2"], ([2], {"a": 1})),
        (["--a", "[" * 10_000], ([], {"a": "[" * 10_000})),
    ],
)
def test_unpack_ctx(words: list[str], expected: tuple[list[object], dict[str, object]]) -> None:
    context = click.Context(cli)
    context.args = words
    assert unpack_ctx(context) == expected


def test_get_rois() -> None:
    array = NumpyArray.from_np_array(np.zeros((9, 9)), Roi((10, 20), (36, 18)), Coordinate(4, 2), ["y", "x"])
    total, read, write = get_rois(None, (24, 6), (8, 6), array)
    assert total == array.roi.grow((8, 0), (8, 0))
    assert read.shape == (24, 6)
    assert write == Roi(read.begin + Coordinate(8, 0), (8, 6))
    part = Roi((14, 22), (8, 6))
    assert get_rois(part, (8, 6), (8, 6), array)[0] == part
