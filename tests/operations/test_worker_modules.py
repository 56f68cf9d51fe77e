"""The worker modules of the original: in tasks of this package and of the user, and from the command line."""

from __future__ import annotations

import inspect
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import daisy
import daisy.v2
import numpy as np
import pytest
from click.testing import CliRunner
from funlib.geometry import Coordinate, Roi
from scipy import ndimage

from dacapo import predict, run_blockwise, segment_blockwise
from dacapo.blockwise import (
    argmax_worker,
    predict_worker,
    relabel_worker,
    segment_worker,
    threshold_worker,
    watershed_function,
)
from dacapo.blockwise.worker.call import WorkerCall
from dacapo.cli import cli
from dacapo.errors import BlockwiseError, ChannelMismatchError, ConfigError, DtypeError, NotFoundError
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray, ZarrArray
from dacapo.options import DaCapoConfig, Options
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.runs import stored_run
from tests.helpers.segments import same_parts
from tests.helpers.volumes import OFFSET, VOXEL_SIZE, new_volume, write_array

SHAPE = (5, 6, 7)
REGION = Roi(OFFSET, Coordinate(SHAPE) * VOXEL_SIZE)
BLOCK = Roi((0, 0, 0), Coordinate(3, 3, 4) * VOXEL_SIZE)


@pytest.fixture(autouse=True)
def _two_cores(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers are processes, on a machine with one core too; logs stay with the other files of the tests."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
    monkeypatch.chdir(tmp_path_factory.mktemp("working"))


@pytest.fixture
def channels(tmp_path: Path) -> np.ndarray:
    values = np.random.default_rng(1).random((3, *SHAPE)).astype(np.float32)
    write_array(tmp_path / "in.zarr", "channels", values)
    write_array(tmp_path / "in.zarr", "raw", values[0])
    return values


def create(folder: Path, channels: int | None = None, dtype: str = "uint8") -> LocalArrayIdentifier:
    identifier = LocalArrayIdentifier(folder / "out.zarr", "result")
    axes = ["z", "y", "x"] if channels is None else ["c", "z", "y", "x"]
    ZarrArray.create_from_array_identifier(
        identifier, axes, REGION, channels, VOXEL_SIZE, dtype, write_size=BLOCK.shape
    )
    return identifier


def content(identifier: LocalArrayIdentifier) -> np.ndarray:
    array = ZarrArray.open_from_array_identifier(identifier)
    return array[array.roi]


def names(source: LocalArrayIdentifier, target: LocalArrayIdentifier) -> dict[str, Any]:
    return {
        "input_container": source.container,
        "input_dataset": source.dataset,
        "output_container": target.container,
        "output_dataset": target.dataset,
    }


def flags(source: LocalArrayIdentifier, target: LocalArrayIdentifier) -> list[str]:
    places = zip(("-ic", "-id", "-oc", "-od"), names(source, target).values(), strict=True)
    return [str(word) for pair in places for word in pair]


def through_run_blockwise(source: LocalArrayIdentifier, target: LocalArrayIdentifier) -> None:
    path = threshold_worker.__file__
    assert run_blockwise(path, REGION, BLOCK, BLOCK, 2, **names(source, target), threshold=0.5)


def in_this_process(source: LocalArrayIdentifier, target: LocalArrayIdentifier) -> None:
    module = "dacapo.blockwise.threshold_worker"
    assert run_blockwise(module, REGION, BLOCK, BLOCK, 1, **names(source, target), threshold=0.5)


def with_identifiers(source: LocalArrayIdentifier, target: LocalArrayIdentifier) -> None:
    """As the post-processors of the original did it."""
    given = {"input_array_identifier": source, "output_array_identifier": target, "threshold": 0.5}
    assert run_blockwise(threshold_worker.__file__, REGION, BLOCK, BLOCK, 2, 1, None, None, **given)


def in_a_task_of_the_user(source: LocalArrayIdentifier, target: LocalArrayIdentifier) -> None:
    worker = threshold_worker.spawn_worker(source, target, 0.5)
    with pytest.warns(DeprecationWarning, match="num_workers"):
        task = daisy.Task("mine", REGION, BLOCK, BLOCK, process_function=worker, num_workers=1, fit="shrink")
    assert daisy.run_blockwise([task])


def in_a_new_task_of_the_user(source: LocalArrayIdentifier, target: LocalArrayIdentifier) -> None:
    worker = threshold_worker.spawn_worker(source, target, 0.5)
    task = daisy.v2.Task("mine", REGION, BLOCK, BLOCK, worker, max_workers=1, fit="overhang")
    assert daisy.v2.run_blockwise(task)


class StartsTheFile:
    """A worker function of a user, who starts the file as a command."""

    def __init__(self, *arguments: str) -> None:
        self.command = [sys.executable, str(threshold_worker.__file__), "start-worker", *arguments]

    def __call__(self) -> None:
        subprocess.run(self.command, check=True)


def by_its_command(source: LocalArrayIdentifier, target: LocalArrayIdentifier) -> None:
    worker = StartsTheFile(*flags(source, target), "-th", "0.5")
    assert daisy.v2.run_blockwise(daisy.v2.Task("mine", REGION, BLOCK, BLOCK, worker, max_workers=1, fit="shrink"))


def by_the_loop(source: LocalArrayIdentifier, target: LocalArrayIdentifier) -> None:
    def worker() -> None:
        loop = threshold_worker.start_worker(**names(source, target), threshold=0.5, return_io_loop=True)
        assert loop is not None
        assert loop() is None

    assert daisy.v2.run_blockwise(daisy.v2.Task("mine", REGION, BLOCK, BLOCK, worker, max_workers=1, fit="shrink"))


def on_the_command_line(source: LocalArrayIdentifier, target: LocalArrayIdentifier) -> None:
    import shutil

    shutil.rmtree(target.container)  # the command creates the output
    size = str(list(BLOCK.shape))
    arguments = [str(value) for value in names(source, target).values()]
    more = ["--read-roi-size", size, "--write-roi-size", size, "--num-workers", "2", "--threshold", "0.5"]
    got = CliRunner().invoke(cli, ["run-blockwise", *arguments, str(threshold_worker.__file__), *more])
    assert got.exit_code == 0, got.output


WAYS = [
    through_run_blockwise,
    in_this_process,
    with_identifiers,
    in_a_task_of_the_user,
    in_a_new_task_of_the_user,
    by_its_command,
    by_the_loop,
    on_the_command_line,
]


class TestThreshold:
    @pytest.mark.parametrize("way", WAYS)
    def test_ways_to_run_it(
        self,
        options: DaCapoConfig,
        tmp_path: Path,
        channels: np.ndarray,
        way: Callable[[LocalArrayIdentifier, LocalArrayIdentifier], None],
    ) -> None:
        target = create(tmp_path)
        way(LocalArrayIdentifier(tmp_path / "in.zarr", "raw"), target)
        np.testing.assert_array_equal(content(target), channels[0] > 0.5)

    def test_channels(self, options: DaCapoConfig, tmp_path: Path, channels: np.ndarray) -> None:
        source, target = LocalArrayIdentifier(tmp_path / "in.zarr", "channels"), create(tmp_path, 3)
        in_this_process(source, target)
        np.testing.assert_array_equal(content(target), channels > 0.5)

    @pytest.mark.parametrize("one", ["in the input", "in the output"])
    def test_a_single_channel_needs_no_axis(
        self, options: DaCapoConfig, tmp_path: Path, channels: np.ndarray, one: str
    ) -> None:
        dataset = "one" if one == "in the input" else "raw"
        write_array(tmp_path / "in.zarr", "one", channels[:1])
        target = create(tmp_path, None if one == "in the input" else 1)
        in_this_process(LocalArrayIdentifier(tmp_path / "in.zarr", dataset), target)
        np.testing.assert_array_equal(content(target).reshape(SHAPE), channels[0] > 0.5)

    def test_several_channels_need_one(self, options: DaCapoConfig, tmp_path: Path, channels: np.ndarray) -> None:
        with pytest.raises(BlockwiseError, match="3 channels cannot be written"):
            in_this_process(LocalArrayIdentifier(tmp_path / "in.zarr", "channels"), create(tmp_path))

    def test_a_worker_that_fails_tells_the_task_of_the_user(
        self, options: DaCapoConfig, tmp_path: Path, channels: np.ndarray
    ) -> None:
        missing = LocalArrayIdentifier(tmp_path / "in.zarr", "missing")
        worker = threshold_worker.spawn_worker(missing, create(tmp_path))
        task = daisy.v2.Task(
            "mine", REGION, BLOCK, BLOCK, worker, max_workers=1, max_worker_restarts=0, max_retries=0, fit="shrink"
        )
        with pytest.raises(RuntimeError, match="ArrayNotFoundError: dataset 'missing' does not exist"):
            daisy.v2.run_blockwise(task, progress=False)
        assert not list(Path(tempfile.gettempdir()).glob("dacapo_worker_*"))

    def test_nobody_hands_out_blocks(
        self, options: DaCapoConfig, tmp_path: Path, channels: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("DAISY_CONTEXT", raising=False)  # Daisy leaves it behind
        source, target = LocalArrayIdentifier(tmp_path / "in.zarr", "raw"), create(tmp_path)
        with pytest.raises(ConfigError, match="DAISY_CONTEXT is not set, so this process is no worker"):
            threshold_worker.start_worker(**names(source, target))
        got = CliRunner().invoke(threshold_worker.cli, ["start-worker", *flags(source, target)])
        assert "DAISY_CONTEXT is not set" in str(got.exception)
        with pytest.raises(ConfigError, match="DAISY_CONTEXT is not set"):
            threshold_worker.spawn_worker(source, target)()

    def test_settings_reach_the_worker(self, options: DaCapoConfig, tmp_path: Path) -> None:
        Options.instance(runs_base_dir=tmp_path / "elsewhere")
        source = LocalArrayIdentifier(tmp_path / "in.zarr", "raw")
        worker = threshold_worker.spawn_worker(source, source)
        assert worker.job.options["runs_base_dir"] == str(tmp_path / "elsewhere")


class TestArgmax:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_largest_channel(self, options: DaCapoConfig, tmp_path: Path, channels: np.ndarray, workers: int) -> None:
        target = create(tmp_path, dtype="uint32")
        given = {
            "input_array_identifier": LocalArrayIdentifier(tmp_path / "in.zarr", "channels"),
            "output_array_identifier": target,
        }
        assert run_blockwise(argmax_worker.__file__, REGION, BLOCK, BLOCK, workers, **given)
        np.testing.assert_array_equal(content(target), channels.argmax(0))
        assert content(target).dtype == np.uint32

    @pytest.mark.parametrize("output_channels", [None, 1])
    def test_a_single_channel_needs_no_axis(
        self, options: DaCapoConfig, tmp_path: Path, channels: np.ndarray, output_channels: int | None
    ) -> None:
        target = create(tmp_path, output_channels)
        array = ZarrArray.open_from_array_identifier(target)
        array[array.roi] = np.full(array.data.shape, 7, np.uint8)
        given = names(LocalArrayIdentifier(tmp_path / "in.zarr", "raw"), target)
        assert run_blockwise(argmax_worker.__file__, REGION, BLOCK, BLOCK, 1, **given)
        assert not content(target).any()


class TestPredict:
    def blocks(self, source: LocalArrayIdentifier, target: LocalArrayIdentifier) -> tuple[Roi, Roi]:
        region = ZarrArray.open_from_array_identifier(source).roi
        block = Roi((0, 0), (48, 64))
        ZarrArray.create_from_array_identifier(
            target, ["c", "y", "x"], region, 2, Coordinate(4, 4), "float32", write_size=block.shape
        )
        return region, block

    def test_as_predict_does(self, options: DaCapoConfig, tmp_path: Path) -> None:
        run, source = stored_run(tmp_path), new_volume(tmp_path)
        expected = content(predict(run.name, 1, source.container, "raw", tmp_path / "p.zarr", output_dtype="float32"))
        target = LocalArrayIdentifier(tmp_path / "out.zarr", "prediction")
        region, block = self.blocks(source, target)
        given = {"input_array_identifier": source, "output_array_identifier": target}
        assert run_blockwise(predict_worker.__file__, region, block, block, 2, run_name=run, iteration=1, **given)
        np.testing.assert_allclose(content(target), expected, atol=1e-5)
        array = ZarrArray.open_from_array_identifier(target)
        assert list(array.attrs["value_range"]) == list(run.task.predictor.output_range)

    def test_the_weights_of_a_run_in_memory(self, options: DaCapoConfig, tmp_path: Path) -> None:
        run, source = stored_run(tmp_path), new_volume(tmp_path)
        expected = content(predict(run.name, 1, source.container, "raw", tmp_path / "p.zarr", output_dtype="float32"))
        target = LocalArrayIdentifier(tmp_path / "out.zarr", "prediction")
        region, block = self.blocks(source, target)
        process = predict_worker.open_worker(run, None, **names(source, target))
        task = daisy.v2.Task("mine", region, block, block, process, fit="shrink")
        assert daisy.v2.run_blockwise(task, multiprocessing=False)
        np.testing.assert_allclose(content(target), expected, atol=1e-5)

    def test_mistakes(self, options: DaCapoConfig, tmp_path: Path) -> None:
        run, source = stored_run(tmp_path), new_volume(tmp_path)
        target = LocalArrayIdentifier(tmp_path / "out.zarr", "prediction")
        self.blocks(source, target)
        with pytest.raises(ConfigError, match="say which iteration to use"):
            predict_worker.open_worker(run.name, None, **names(source, target))
        with pytest.raises(ConfigError, match="only in this process"):
            predict_worker.spawn_worker(run, None, source, target)
        with pytest.raises(NotFoundError, match="nobody"):
            predict_worker.spawn_worker("nobody", 1, source, target)
        with pytest.raises(ChannelMismatchError, match="has 1 channel, the prediction of run 'affinities' 2"):
            predict_worker.open_worker(run, 1, **names(source, source))
        other = write_array(tmp_path / "x.zarr", "x", np.zeros((2, 41, 44), np.float32), Coordinate(8, 8), OFFSET[1:])
        with pytest.raises(ConfigError, match=r"has voxel size \(8, 8\)"):
            predict_worker.open_worker(run, 1, **names(source, other))


COMPONENTS = """
from scipy import ndimage

def segment_function(input_array, block, connectivity=1):
    values = input_array[block.read_roi]
    assert values.shape == input_array[block].shape
    return ndimage.label(values, ndimage.generate_binary_structure(values.ndim, connectivity))[0]
"""


CHECKED = """
def check_segment_function(colour):
    if colour != "red":
        raise ValueError(f"no such colour: {colour}")

def segment_function(input_array, block, colour):
    begin, end = block.write_roi.begin, block.read_roi.end
    assert block.block_id[1] >= 0 and all(b < e for b, e in zip(begin, end))
    return input_array[block] > 0
"""


def test_a_check_of_the_file_comes_before_anything_is_written(options: DaCapoConfig, tmp_path: Path) -> None:
    source = write_array(tmp_path / "in.zarr", "raw", np.ones(SHAPE, np.uint8))
    file = tmp_path / "checked.py"
    file.write_text(CHECKED)
    given = names(source, LocalArrayIdentifier(tmp_path / "out.zarr", "labels"))
    with pytest.raises(ValueError, match="no such colour: blue"):
        segment_blockwise(file, VOXEL_SIZE, REGION, BLOCK, BLOCK, 1, colour="blue", **given)
    assert not (tmp_path / "out.zarr").exists()
    assert segment_blockwise(file, VOXEL_SIZE, REGION, BLOCK, BLOCK, 1, colour="red", **given)


def test_watershed_function(options: DaCapoConfig, tmp_path: Path) -> None:
    affinities = np.ones((2, 6, 8), dtype=np.float32)
    affinities[1, :, 3] = 0  # a wall between the columns 3 and 4
    source = write_array(tmp_path / "in.zarr", "affinities", affinities, Coordinate(1, 1), Coordinate(0, 0))
    region, block = Roi((0, 0), (6, 8)), Roi((0, 0), (3, 4))
    given = names(source, LocalArrayIdentifier(tmp_path / "out.zarr", "labels"))
    more = {"offsets": [[1, 0], [0, 1]], "bias": 0.5}
    assert segment_blockwise(watershed_function.__file__, 2, region, block, block, 2, **given, **more)
    labels = content(LocalArrayIdentifier(tmp_path / "out.zarr", "labels"))
    assert len(np.unique(labels[:, :4])) == len(np.unique(labels[:, 4:])) == 1
    assert labels[0, 0] != labels[0, 7]
    array = ZarrArray.open_from_array_identifier(source)
    found, _ = watershed_function.segment_function(array, daisy.v2.Block(region, region, region), **more)
    assert same_parts(found, labels)


class TestSegmentAndRelabel:
    """The two workers that the original segmented with, one after the other."""

    @pytest.fixture
    def function(self, tmp_path: Path) -> Path:
        file = tmp_path / "components.py"
        file.write_text(COMPONENTS)
        return file

    def volume(self, folder: Path, seed: int, shape: tuple[int, ...]) -> tuple[LocalArrayIdentifier, np.ndarray]:
        values = (np.random.default_rng(seed).random(shape) < 0.4).astype(np.uint8)
        return write_array(
            folder / "in.zarr", "mask", values, Coordinate(VOXEL_SIZE[: len(shape)]), Coordinate(OFFSET[: len(shape)])
        ), values

    def labels(
        self, folder: Path, like: LocalArrayIdentifier, block: Coordinate, channels: int | None = None
    ) -> LocalArrayIdentifier:
        source = ZarrArray.open_from_array_identifier(like)
        target = LocalArrayIdentifier(folder / "out.zarr", "labels")
        axes = source.axes if channels is None else ["c", *source.axes]
        ZarrArray.create_from_array_identifier(
            target, axes, source.roi, channels, source.voxel_size, "uint64", write_size=block, overwrite=True
        )
        return target

    def test_an_output_with_a_channel_axis(self, options: DaCapoConfig, tmp_path: Path, function: Path) -> None:
        source, values = self.volume(tmp_path, 6, (9, 8, 7))
        target, around = self.labels(tmp_path, source, BLOCK.shape, channels=1), VOXEL_SIZE
        region = ZarrArray.open_from_array_identifier(source).roi
        more = {"tmpdir": tmp_path / "between", "function_path": function}
        given = {"output_array_identifier": target, **more}
        regions = (region.grow(around, around), BLOCK.grow(around, around), BLOCK)
        assert run_blockwise(segment_worker.__file__, *regions, 1, input_array_identifier=source, **given)
        assert run_blockwise(relabel_worker.__file__, region, BLOCK, BLOCK, 1, **given)
        assert content(target).shape == (1, 9, 8, 7)
        assert same_parts(content(target)[0], ndimage.label(values)[0])
        several = self.labels(tmp_path, source, BLOCK.shape, channels=2)
        with pytest.raises(DtypeError, match="and a single channel"):
            segment_worker.open_worker(**names(source, several), **more)

    @pytest.mark.parametrize(
        ("seed", "shape", "connectivity", "workers"),
        [(1, (9, 8, 7), 1, 2), (2, (9, 8, 7), 3, 1), (3, (30, 31), 2, 1)],
    )
    def test_components_are_those_of_the_whole(
        self,
        options: DaCapoConfig,
        tmp_path: Path,
        function: Path,
        seed: int,
        shape: tuple[int, ...],
        connectivity: int,
        workers: int,
    ) -> None:
        source, values = self.volume(tmp_path, seed, shape)
        array = ZarrArray.open_from_array_identifier(source)
        block = Roi((0,) * array.dims, Coordinate((4, 3, 3)[: array.dims]) * array.voxel_size)
        around = array.voxel_size
        target, tmpdir = self.labels(tmp_path, source, block.shape), tmp_path / "between"
        tmpdir.mkdir()
        (tmpdir / "parameters.yaml").write_text(f"connectivity: {connectivity}")
        given = {"input_array_identifier": source, "output_array_identifier": target}
        regions = (array.roi.grow(around, around), block.grow(around, around), block)
        more = {"tmpdir": tmpdir, "function_path": function}
        for number in (workers, 1):  # the second time nothing changes
            assert run_blockwise(segment_worker.__file__, *regions, number, **given, **more)
        assert len(np.unique(content(target))) > ndimage.label(values)[1]
        relabel = {"output_array_identifier": target, "tmpdir": tmpdir, "function_path": function}
        expected = ndimage.label(values, ndimage.generate_binary_structure(array.dims, connectivity))[0]
        for number in (workers, 1):
            assert run_blockwise(relabel_worker.__file__, array.roi, block, block, number, **relabel)
            assert same_parts(content(target), expected)

    def test_in_tasks_of_the_user(self, options: DaCapoConfig, tmp_path: Path, function: Path) -> None:
        source, values = self.volume(tmp_path, 4, (9, 8, 7))
        target, tmpdir = self.labels(tmp_path, source, BLOCK.shape), str(tmp_path / "between")
        region = ZarrArray.open_from_array_identifier(source).roi
        around, task = VOXEL_SIZE, daisy.v2.Task
        first = segment_worker.spawn_worker(source, target, tmpdir, str(function))
        assert daisy.v2.run_blockwise(
            task(
                "a", region.grow(around, around), BLOCK.grow(around, around), BLOCK, first, max_workers=2, fit="shrink"
            )
        )
        second = relabel_worker.spawn_worker(target, tmpdir, str(function))
        assert daisy.v2.run_blockwise(task("b", region, BLOCK, BLOCK, second, max_workers=2, fit="shrink"))
        assert same_parts(content(target), ndimage.label(values)[0])

    def test_evidence_over_all_blocks(self, options: DaCapoConfig, tmp_path: Path) -> None:
        file = tmp_path / "doubtful.py"
        file.write_text(
            "import numpy as np\n"
            "def segment_function(input_array, block):\n"
            "    values = input_array[block.read_roi]\n"
            "    return (values != 0).astype(np.uint8) * (1 + (values > 0)), values.astype(float)\n"
        )
        # One segment in the upper half whose evidence is good in the whole, one in the lower half where it is not.
        values = np.full((4, 6), 2, dtype=np.int8)
        values[2:] = -1
        values[0, :3], values[3, 3:] = 1, -3
        source = write_array(tmp_path / "in.zarr", "x", values, Coordinate(1, 1), Coordinate(0, 0))
        target, tmpdir = self.labels(tmp_path, source, Coordinate(4, 3)), tmp_path / "between"
        block = Roi((0, 0), (4, 3))
        regions = (Roi((-1, -1), (6, 8)), block.grow(1, 1), block)
        given = {"output_array_identifier": target, "tmpdir": tmpdir}
        assert run_blockwise(
            segment_worker.__file__, *regions, 1, input_array_identifier=source, function_path=file, **given
        )
        assert run_blockwise(relabel_worker.__file__, Roi((0, 0), (4, 6)), block, block, 1, **given)
        assert (content(target)[:2] == 1).all()
        assert not content(target)[2:].any()

    def test_a_folder_of_other_work(self, options: DaCapoConfig, tmp_path: Path, function: Path) -> None:
        source, _ = self.volume(tmp_path, 4, (9, 8, 7))
        target, tmpdir = self.labels(tmp_path, source, BLOCK.shape), tmp_path / "between"
        segment_worker.open_worker(**names(source, target), tmpdir=tmpdir, function_path=function)
        with pytest.raises(ConfigError, match="give an empty folder"):
            segment_worker.open_worker(
                **names(source, target), tmpdir=tmpdir, function_path=function, parameters={"connectivity": 2}
            )
        with pytest.raises(BlockwiseError, match="run the segment worker first"):
            relabel_worker.read_cross_block_merges(tmpdir)

    def test_segment_blockwise_as_the_original_calls_it(
        self, options: DaCapoConfig, tmp_path: Path, function: Path
    ) -> None:
        source, values = self.volume(tmp_path, 5, (9, 8, 7))
        target = LocalArrayIdentifier(tmp_path / "out.zarr", "labels")
        array = ZarrArray.open_from_array_identifier(source)
        given = {"input_array_identifier": source, "output_array_identifier": target}
        regions = (VOXEL_SIZE, array.roi, BLOCK, BLOCK)
        assert segment_blockwise(function, *regions, 1, parameters={"connectivity": 3}, **given)
        assert same_parts(content(target), ndimage.label(values, np.ones((3, 3, 3)))[0])
        with pytest.raises(ConfigError, match="expected container and dataset, or the identifier"):
            segment_blockwise(function, *regions, 1, input_container=tmp_path, **given)

    def test_mistakes(self, options: DaCapoConfig, tmp_path: Path, function: Path) -> None:
        source, _ = self.volume(tmp_path, 4, (9, 8, 7))
        more = {"tmpdir": tmp_path / "between", "function_path": function}
        with pytest.raises(DtypeError, match="504 voxels need whole numbers as large as that"):
            segment_worker.open_worker(**names(source, source), **more)
        target = self.labels(tmp_path, source, BLOCK.shape)
        with pytest.raises(ConfigError, match="unexpected keyword argument 'colour'"):
            segment_worker.open_worker(**names(source, target), **more, parameters={"colour": 1})
        (tmp_path / "between").mkdir()
        (tmp_path / "between" / "parameters.yaml").write_text("- 1")
        with pytest.raises(ConfigError, match="expected parameters by their names"):
            segment_worker.open_worker(**names(source, target), **more)

    def test_merges_of_a_segmentation_that_was_kept(
        self, options: DaCapoConfig, tmp_path: Path, function: Path
    ) -> None:
        source, values = self.volume(tmp_path, 5, (9, 8, 7))
        given = names(source, LocalArrayIdentifier(tmp_path / "out.zarr", "labels"))
        array = ZarrArray.open_from_array_identifier(source)
        assert segment_blockwise(function, VOXEL_SIZE, array.roi, BLOCK, BLOCK, 1, keep_tmpdir=True, **given)
        nodes, edges = relabel_worker.read_cross_block_merges(tmp_path / "out.zarr" / ".labels.blocks")
        assert len(edges) > 1
        components = relabel_worker.find_components(nodes, edges)
        kept = LocalArrayIdentifier(tmp_path / "out.zarr" / ".labels.blocks" / "fragments.zarr", "fragments")
        fragments = ZarrArray.open_from_array_identifier(kept)
        whole = daisy.v2.Block(array.roi, array.roi, array.roi)
        relabel_worker.relabel_in_block(fragments, nodes, components, whole)
        assert same_parts(content(kept), ndimage.label(values)[0])

    def test_the_loop_with_positional_arguments(self, options: DaCapoConfig, tmp_path: Path) -> None:
        source, _ = self.volume(tmp_path, 4, (9, 8, 7))
        target = self.labels(tmp_path, source, BLOCK.shape)
        np.savez(tmp_path / "block_0.npz", nodes=np.array([1], np.uint64), edges=np.zeros((0, 2), np.uint64))
        given = (str(target.container), target.dataset, str(tmp_path))
        assert callable(relabel_worker.start_worker(*given, True, "more", colour="red"))
        with pytest.raises(TypeError, match="missing a required argument: 'tmpdir'"):
            relabel_worker.start_worker(*given[:2])

    def test_find_components(self) -> None:
        edges = np.array([[3, 9], [9, 4]], dtype=np.uint64)
        components = relabel_worker.find_components(np.array([4, 9, 1, 3], dtype=np.uint64), edges)
        assert components.tolist() == [3, 3, 1, 3]
        assert relabel_worker.find_components(np.zeros(0, np.uint64), np.zeros((0, 2), np.uint64)).size == 0
        with pytest.raises(ConfigError, match="are no nodes"):
            relabel_worker.find_components(np.array([3, 4]), edges)

    def test_relabel_in_block(self) -> None:
        values = np.array([[1, 2, 3], [4, 0, 2]], dtype=np.uint64)
        array = NumpyArray.from_np_array(values, Roi((0, 0), (2, 3)), Coordinate(1, 1), ["y", "x"])
        block = daisy.v2.Block(Roi((0, 0), (2, 4)), Roi((0, 1), (2, 4)), Roi((0, 1), (2, 4)))
        relabel_worker.relabel_in_block(array, np.array([2, 1]), np.array([7, 8]), block)
        assert array[array.roi].tolist() == [[1, 7, 3], [4, 0, 7]]


SIGNATURES: dict[str, dict[str, list[str]]] = {
    "argmax_worker": {
        "cli": ["log_level"],
        "start_worker": [
            "input_container",
            "input_dataset",
            "output_container",
            "output_dataset",
            "return_io_loop=False",
        ],
        "spawn_worker": ["input_array_identifier", "output_array_identifier"],
    },
    "threshold_worker": {
        "cli": ["log_level"],
        "start_worker": [
            *["input_container", "input_dataset", "output_container", "output_dataset"],
            *["threshold=0.0", "return_io_loop=False"],
        ],
        "spawn_worker": ["input_array_identifier", "output_array_identifier", "threshold=0.0"],
    },
    "watershed_function": {"segment_function": ["input_array", "block", "offsets", "bias", "long_range_bias=None"]},
    "predict_worker": {
        "cli": ["log_level"],
        "start_worker": [
            *["run_name", "iteration", "input_container", "input_dataset", "output_container", "output_dataset"],
            "return_io_loop=False",
        ],
        "start_worker_fn": [
            *["run_name", "iteration", "input_container", "input_dataset", "output_container", "output_dataset"],
            "return_io_loop=False",
        ],
        "spawn_worker": ["run_name", "iteration", "input_array_identifier", "output_array_identifier"],
    },
    "relabel_worker": {
        "cli": ["log_level"],
        "start_worker": ["output_container", "output_dataset", "tmpdir", "return_io_loop=False", "args", "kwargs"],
        "relabel_in_block": ["array_out", "old_values", "new_values", "block"],
        "find_components": ["nodes", "edges"],
        "read_cross_block_merges": ["tmpdir"],
        "spawn_worker": ["output_array_identifier", "tmpdir", "args", "kwargs"],
    },
    "segment_worker": {
        "cli": ["log_level"],
        "start_worker": [
            *["input_container", "input_dataset", "output_container", "output_dataset", "tmpdir", "function_path"],
            "return_io_loop=False",
        ],
        "spawn_worker": ["input_array_identifier", "output_array_identifier", "tmpdir", "function_path"],
    },
}
FLAGS = {
    "argmax_worker": ["-ic --input_container", "-id --input_dataset", "-oc --output_container", "-od --output_dataset"],
    "predict_worker": [
        *["-i --iteration", "-ic --input_container", "-id --input_dataset", "-oc --output_container"],
        *["-od --output_dataset", "-r --run-name"],
    ],
    "relabel_worker": ["--output_container", "--output_dataset", "--tmpdir"],
    "segment_worker": [
        *["--input_container", "--input_dataset", "--output_container", "--output_dataset"],
        *["--tmpdir", "--function_path"],
    ],
    "threshold_worker": [
        *["-ic --input_container", "-id --input_dataset", "-oc --output_container", "-od --output_dataset"],
        "-th --threshold",
    ],
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in SIGNATURES for name in SIGNATURES[module]])
def test_signatures(module: str, name: str) -> None:
    function = getattr(sys.modules[f"dacapo.blockwise.{module}"], name)
    function = getattr(function, "callback", function)
    parameters = [
        parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default}"
        for parameter in inspect.signature(function).parameters.values()
    ]
    assert parameters == SIGNATURES[module][name]


@pytest.mark.parametrize("module", FLAGS)
def test_flags(module: str) -> None:
    group = sys.modules[f"dacapo.blockwise.{module}"].cli
    assert [option.opts for option in group.params] == [["--log-level"]]
    assert list(group.commands) == ["start-worker"]
    assert sorted(" ".join(option.opts) for option in group.commands["start-worker"].params) == sorted(FLAGS[module])


# A worker file as it was written for the original.
OF_A_USER = """
import subprocess, sys
from pathlib import Path
import click
import daisy
from dacapo.compute_context import create_compute_context
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier

@click.group()
def cli():
    pass

@cli.command()
@click.option("-oc", "--output_container", type=click.Path(path_type=Path))
@click.option("-od", "--output_dataset")
@click.option("--value", type=int)
def start_worker(output_container, output_dataset, value, return_io_loop=False):
    output = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(output_container, output_dataset))

    def io_loop():
        client = daisy.Client()
        while True:
            with client.acquire_block() as block:
                if block is None:
                    return
                output[block.write_roi] = value

    return io_loop if return_io_loop else io_loop()

def spawn_worker(output_array_identifier, value):
    compute_context = create_compute_context()
    path, dataset = output_array_identifier.container, output_array_identifier.dataset
    command = [sys.executable, __file__, "start-worker", "-oc", str(path), "-od", dataset, "--value", str(value)]

    def run_worker():
        compute_context.execute(command)

    return run_worker

if __name__ == "__main__":
    cli()
"""


class TestFilesOfUsers:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / "mine.py"
        file.write_text(OF_A_USER)
        return file

    @pytest.mark.parametrize("workers", [1, 2])
    @pytest.mark.parametrize("form", ["identifiers", "names"])
    def test_written_for_the_original(
        self, options: DaCapoConfig, tmp_path: Path, file: Path, form: str, workers: int
    ) -> None:
        target = create(tmp_path)
        given: dict[str, Any] = {"output_array_identifier": target}
        if form == "names":
            given = {"output_container": target.container, "output_dataset": target.dataset}
        tracking = tmp_path / "tracking"
        assert run_blockwise(file, REGION, BLOCK, BLOCK, workers, tracking_path=tracking, **given, value=7)
        assert (content(target) == 7).all()

    def test_a_worker_that_fails(self, options: DaCapoConfig, tmp_path: Path, file: Path) -> None:
        target = LocalArrayIdentifier(tmp_path / "missing.zarr", "x")
        with pytest.raises(BlockwiseError, match="ArrayNotFoundError"):
            run_blockwise(file, REGION, BLOCK, BLOCK, 1, 0, output_array_identifier=target, value=7)

    def test_neither_function_takes_the_arguments(self, tmp_path: Path, file: Path) -> None:
        with pytest.raises(ConfigError, match=r"start_worker of .* does not accept the given arguments"):
            WorkerCall.of(file, [], {"colour": 3})

    def test_nothing_to_call(self, tmp_path: Path) -> None:
        file = tmp_path / "nothing.py"
        file.write_text("def spawn_worker(x):\n    return x\n")
        with pytest.raises(ConfigError, match="returned 5; expected a function without arguments"):
            WorkerCall.of(file, [5], {})
