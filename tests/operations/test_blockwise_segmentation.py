"""Segmentation in blocks: against the whole, after interruptions, and with what is counted over all blocks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dacapo import segment_blockwise
from dacapo.apply import apply_run
from dacapo.blockwise.journal import Journal
from dacapo.blockwise.segmentation import SegmentationPlan, plan, run
from dacapo.blockwise.segmentation.fragments import Fragments
from dacapo.blockwise.segmentation.gathering import Gathering
from dacapo.blockwise.segmentation.lookup_table import SMALL, dense_numbers
from dacapo.blockwise.segmentation.matching import Matching
from dacapo.blockwise.segmentation.relabeling import Relabeling
from dacapo.blockwise.segmentation.workspace import Workspace
from dacapo.errors import BlockwiseError, ConfigError, OutputExistsError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.tasks.post_processors import WatershedPostProcessor, WatershedPostProcessorParameters
from dacapo.options import DaCapoConfig, Options
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.segmentation import absorb_small
from tests.helpers.runs import stored_run
from tests.helpers.segments import plan_of_voxels, same_parts
from tests.helpers.volumes import OFFSET, VOXEL_SIZE, new_volume, stored_values, write_array

COMPONENTS = """
import os
from pathlib import Path
from scipy import ndimage

def segment_function(input_array, roi, connectivity=1, stop=None, log=None, mean=None):
    if log is not None:
        with open(Path(log) / "calls", "a") as calls:
            calls.write("x")
        if list(roi.begin) == stop and not (Path(log) / "go").exists():
            raise ValueError("interrupted")
    values = input_array[roi]
    labels, _ = ndimage.label(values > 0, ndimage.generate_binary_structure(values.ndim, connectivity))
    return labels if mean is None else (labels, values - float(mean))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp())
    (path / "components.py").write_text(COMPONENTS)
    yield path
    shutil.rmtree(path)


def segment(
    folder: Path, values: np.ndarray, block: tuple[int, ...], context: int | tuple[int, ...] = 1, **kwargs: Any
) -> np.ndarray:
    """Segment values in blocks and return the labels; block and context are in voxels."""
    voxel_size, offset = Coordinate(VOXEL_SIZE[: values.ndim]), Coordinate(OFFSET[: values.ndim])
    if not (folder / "in.zarr").exists():
        write_array(folder / "in.zarr", "raw", values, voxel_size, offset)
    write_roi = Roi((0,) * values.ndim, Coordinate(block) * voxel_size)
    around = Coordinate((context,) * values.ndim if isinstance(context, int) else context) * voxel_size
    total = kwargs.pop("total", Roi(offset, Coordinate(values.shape) * voxel_size))
    names: dict[str, Any] = {"input_container": folder / "in.zarr", "input_dataset": "raw"}
    names |= {"output_container": folder / "out.zarr", "output_dataset": "labels", "num_workers": 1, **kwargs}
    file = folder / "components.py"
    assert segment_blockwise(file, around, total_roi=total, read_roi=write_roi, write_roi=write_roi, **names)
    return stored_values(LocalArrayIdentifier(folder / "out.zarr", "labels"))


def clear(folder: Path) -> None:
    for name in ("in.zarr", "out.zarr"):
        shutil.rmtree(folder / name, ignore_errors=True)


@st.composite
def volumes_and_blocks(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...]]:
    """Blocks of one voxel, larger than the volume, or not dividing it."""
    dims = draw(st.sampled_from([2, 3]))
    shape = draw(st.tuples(*[st.integers(1, 8)] * dims))
    block = draw(st.tuples(*[st.integers(1, 10)] * dims))
    block = tuple(max(b, s // 3) for s, b in zip(shape, block, strict=True))  # not too many, for the time it takes
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    values = (rng.random(shape) < draw(st.sampled_from([0.3, 0.5, 0.7]))) * rng.integers(1, 256, shape)
    return values.astype(np.uint8), block


CHECKERS = (np.indices((3, 3, 3)).sum(axis=0) % 2).astype(np.uint8)
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(volumes_and_blocks(), st.integers(1, 3), st.integers(1, 2))
@example((CHECKERS, (1, 1, 1)), 3, 1)
@example((CHECKERS, (9, 1, 2)), 1, 1)
def test_components_equal_those_of_the_whole(
    options: DaCapoConfig, folder: Path, case: tuple[np.ndarray, tuple[int, ...]], connectivity: int, context: int
) -> None:
    clear(folder)
    values, block = case
    connectivity = min(connectivity, values.ndim)
    labels = segment(folder, values, block, context, connectivity=connectivity)
    expected, count = ndimage.label(values, ndimage.generate_binary_structure(values.ndim, connectivity))
    assert same_parts(labels, expected)
    assert set(np.unique(labels)) - {0} == set(range(1, count + 1))


@quick
@given(volumes_and_blocks(), st.integers(0, 255))
def test_evidence_is_summed_up_over_the_whole(
    options: DaCapoConfig, folder: Path, case: tuple[np.ndarray, tuple[int, ...]], mean: int
) -> None:
    clear(folder)
    values, block = case
    labels = segment(folder, values, block, mean=mean)
    expected, count = ndimage.label(values)
    sums = np.bincount(expected.ravel(), values.ravel() - float(mean), minlength=count + 1)
    expected[sums[expected] < 0] = 0
    assert same_parts(labels, expected)
    assert labels.max() == len(np.unique(expected[expected > 0]))


@quick
@given(volumes_and_blocks(), st.integers(0, 12), st.booleans())
def test_small_segments_are_absorbed_as_in_the_whole(
    options: DaCapoConfig, folder: Path, case: tuple[np.ndarray, tuple[int, ...]], smallest: int, fill: bool
) -> None:
    clear(folder)
    # Runs of equal values along the last axis, which touch one another; so there is something to grow.
    values, block = case
    (folder / "runs.py").write_text(
        "import numpy as np\n"
        "from scipy import ndimage\n"
        "def segment_function(input_array, roi):\n"
        "    values, labels, last = input_array[roi] // 64, 0, 0\n"
        f"    for value in range({int(fill)}, 4):\n"
        "        part, count = ndimage.label(values == value)\n"
        "        labels, last = labels + np.where(part > 0, part + last, 0), last + count\n"
        "    return labels\n"
    )
    shutil.copy(folder / "runs.py", folder / "components.py")
    more = {"absorb_below": smallest, "fill_background": fill}
    labels = segment(folder, values, block, context=values.shape, **more)
    (folder / "components.py").write_text(COMPONENTS)
    whole, last = np.zeros(values.shape, dtype=np.int64), 0
    for value in range(int(fill), 4):
        part, count = ndimage.label(values // 64 == value)
        whole[part > 0] = part[part > 0] + last
        last += count
    expected = absorb_small(whole, smallest, fill)
    # Which of two at the same distance grows into a voxel depends on the order of their voxels, which is the same.
    assert same_parts(labels, expected)
    assert labels.max() == len(np.unique(expected[expected > 0]))


class TestInterruptions:
    values = (np.random.default_rng(4).random((12, 12)) < 0.5).astype(np.uint8)
    block = (4, 4)

    def calls(self, folder: Path) -> int:
        return len((folder / "calls").read_text())

    def interrupt(self, folder: Path, **kwargs: Any) -> dict[str, Any]:
        """Fail in one of nine blocks, and return the arguments of the call."""
        stop = list(Coordinate(OFFSET[:2]) + Coordinate(3, 3) * Coordinate(VOXEL_SIZE[:2]))
        arguments: dict[str, Any] = {"stop": stop, "log": str(folder), "max_retries": 0, **kwargs}
        with pytest.raises(BlockwiseError, match=r"1 of 9 blocks are not done(?s:.*)interrupted"):
            segment(folder, self.values, self.block, **arguments)
        assert self.calls(folder) == 9
        (folder / "go").touch()
        return arguments

    def test_the_same_call_goes_on(self, options: DaCapoConfig, folder: Path) -> None:
        arguments = self.interrupt(folder)
        labels = segment(folder, self.values, self.block, **arguments)
        assert self.calls(folder) == 10
        assert same_parts(labels, ndimage.label(self.values)[0])
        left = {path.name for path in (folder / "out.zarr" / ".labels.blocks").iterdir()}
        assert not left & {"fragments.zarr", "blocks", "pairs", "runs", "first.npy", "labels.npy"}
        np.testing.assert_array_equal(segment(folder, self.values, self.block, **arguments), labels)
        assert self.calls(folder) == 10, "it was finished"

    def test_other_arguments_do_not_mix(self, options: DaCapoConfig, folder: Path) -> None:
        arguments = self.interrupt(folder)
        for change in ({"connectivity": 2}, {"min_overlap": 0.5}, {"context": 2}, {"block": (4, 12)}):
            block: Any = change.pop("block", self.block)
            with pytest.raises(OutputExistsError, match="started with other parameters"):
                segment(folder, self.values, block, **{**arguments, **change})
        (folder / "components.py").write_text(COMPONENTS.replace("> 0", "> 1"))
        with pytest.raises(OutputExistsError, match="code was"):
            segment(folder, self.values, self.block, **arguments)

    def test_overwriting_begins_anew(self, options: DaCapoConfig, folder: Path) -> None:
        arguments = self.interrupt(folder)
        labels = segment(folder, self.values, self.block, **{**arguments, "connectivity": 2, "overwrite": True})
        assert self.calls(folder) == 18
        assert same_parts(labels, ndimage.label(self.values, np.ones((3, 3)))[0])

    @pytest.mark.parametrize("stage", ["match", "gather", "merge", "relabel"])
    def test_later_passes_go_on_too(
        self, options: DaCapoConfig, folder: Path, monkeypatch: pytest.MonkeyPatch, stage: str
    ) -> None:
        passes: dict[str, Any] = {"match": Matching, "gather": Gathering, "relabel": Relabeling}
        cls, name = (passes[stage], "process") if stage in passes else (run, "write_lookup_table")
        monkeypatch.setattr(plan, "_RUN", 1)
        done: list[Any] = []
        original = getattr(cls, name)

        def fails(operation: Any, *block: Any) -> None:
            if len(done) == (0 if stage == "merge" else 5):
                raise BlockwiseError("the disk is away")
            original(operation, *block)
            done.append(block)

        monkeypatch.setattr(cls, name, fails)
        arguments: dict[str, Any] = {"log": str(folder), "max_retries": 0}
        with pytest.raises(BlockwiseError, match="the disk is away"):
            segment(folder, self.values, self.block, **arguments)
        monkeypatch.setattr(cls, name, original)
        labels = segment(folder, self.values, self.block, **arguments)
        assert self.calls(folder) == 9
        assert same_parts(labels, ndimage.label(self.values)[0])

    def test_an_output_of_somebody_else_gets_labels(self, options: DaCapoConfig, folder: Path) -> None:
        before = np.full((12, 12), 7, dtype=np.uint64)
        write_array(folder / "out.zarr", "labels", before, Coordinate(VOXEL_SIZE[:2]), Coordinate(OFFSET[:2]))
        labels = segment(folder, self.values, (12, 12))
        assert same_parts(labels, ndimage.label(self.values)[0])


def killed(monkeypatch: pytest.MonkeyPatch, folder: Path, values: np.ndarray, when: str, **kwargs: Any) -> None:
    """Begin to segment, and end before or after the output is created, as if the process had been killed."""
    create = run.create_arrays

    def dies(*arguments: Any) -> None:
        if when == "after":
            create(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "create_arrays", dies)
        patch.setattr(Journal, "forget", lambda journal: None)  # a process that is killed tidies nothing
        with pytest.raises(KeyboardInterrupt):
            segment(folder, values, (4, 4), **kwargs)


class TestExistingOutputs:
    values = (np.random.default_rng(5).random((12, 12)) < 0.5).astype(np.uint8)
    part = Roi(OFFSET[:2], Coordinate(8, 8) * Coordinate(VOXEL_SIZE[:2]))

    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("owner", ["dacapo", "somebody else"])
    def test_a_kill_while_the_output_is_created_deletes_nothing(
        self, options: DaCapoConfig, folder: Path, monkeypatch: pytest.MonkeyPatch, when: str, owner: str
    ) -> None:
        if owner == "dacapo":
            before = segment(folder, self.values, (4, 4))
            arguments: dict[str, Any] = {"into_existing": True}
        else:
            before = np.full((12, 12), 99, dtype=np.uint64)
            identifier = LocalArrayIdentifier(folder / "out.zarr", "labels")
            voxel_size, offset = Coordinate(VOXEL_SIZE[:2]), Coordinate(OFFSET[:2])
            array = ZarrArray.create_from_array_identifier(
                identifier,
                ["y", "x"],
                Roi(offset, voxel_size * 12),
                None,
                voxel_size,
                np.uint64,
                write_size=voxel_size * 4,
            )
            array[array.roi] = before
            arguments = {}
        killed(monkeypatch, folder, self.values, when, total=self.part, **arguments)
        labels = segment(folder, self.values, (4, 4), total=self.part, **arguments)
        assert labels.shape == (12, 12)
        np.testing.assert_array_equal(labels[8:], before[8:])
        np.testing.assert_array_equal(labels[:8, 8:], before[:8, 8:])
        assert same_parts(labels[:8, :8], ndimage.label(self.values[:8, :8])[0])

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_what_was_only_created_is_no_obstacle(
        self, options: DaCapoConfig, folder: Path, monkeypatch: pytest.MonkeyPatch, when: str
    ) -> None:
        killed(monkeypatch, folder, self.values, when)
        # With other blocks, which the chunks of what was created do not fit.
        labels = segment(folder, self.values, (5, 6), into_existing=False)
        assert same_parts(labels, ndimage.label(self.values)[0])

    def test_a_refused_call_forgets_nothing(self, options: DaCapoConfig, folder: Path) -> None:
        before = segment(folder, self.values, (4, 4), log=str(folder))
        for into, error in ((True, ConfigError), (None, OutputExistsError), (False, OutputExistsError)):
            with pytest.raises(error, match=r"same chunk|other parameters"):
                segment(folder, self.values, (5, 6), log=str(folder), into_existing=into)
            labels = segment(folder, self.values, (4, 4), log=str(folder), into_existing=False)
            np.testing.assert_array_equal(labels, before)
        assert len((folder / "calls").read_text()) == 9, "there was nothing to do"

    def test_other_work_is_only_written_into_if_asked_for(self, options: DaCapoConfig, folder: Path) -> None:
        before = segment(folder, self.values, (4, 4))
        for into in (None, False):
            with pytest.raises(OutputExistsError, match="other parameters"):
                segment(folder, self.values, (4, 4), total=self.part, into_existing=into)
        labels = segment(folder, self.values, (4, 4), total=self.part, into_existing=True)
        np.testing.assert_array_equal(labels[8:], before[8:])
        (folder / "out.zarr" / ".labels.blocks" / "complete").unlink()  # as if it had been interrupted
        with pytest.raises(OutputExistsError, match="other parameters"):
            segment(folder, self.values, (4, 4), into_existing=True)

    @pytest.mark.parametrize("absorb_below", [0, 3])
    def test_a_channel_axis_of_length_one(self, options: DaCapoConfig, folder: Path, absorb_below: int) -> None:
        voxel_size = Coordinate(VOXEL_SIZE[:2])
        where = ["c", "y", "x"], Roi(OFFSET[:2], voxel_size * 12), 1, voxel_size, np.uint64
        output = LocalArrayIdentifier(folder / "out.zarr", "labels")
        array = ZarrArray.create_from_array_identifier(output, *where, write_size=voxel_size * 4)
        array[array.roi] = np.full((1, 12, 12), 99, dtype=np.uint64)
        labels = segment(folder, self.values, (4, 4), 4, total=self.part, into_existing=True, absorb_below=absorb_below)
        assert (labels[:, 8:] == 99).all()
        assert (labels[:, :8, 8:] == 99).all()
        expected = absorb_small(ndimage.label(self.values[:8, :8])[0], absorb_below)
        assert same_parts(labels[0, :8, :8], expected)

    def test_several_channels_are_refused(self, options: DaCapoConfig, folder: Path) -> None:
        place = Coordinate(VOXEL_SIZE[:2]), Coordinate(OFFSET[:2])
        write_array(folder / "out.zarr", "labels", np.zeros((2, 12, 12), np.uint64), *place)
        with pytest.raises(ConfigError, match=r"in 2 channels .* a single channel"):
            segment(folder, self.values, (12, 12), into_existing=True)


@pytest.mark.slow
def test_order_and_number_of_workers_do_not_matter(
    options: DaCapoConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a function whose segments differ between what blocks see, so that pairs are a matter of opinion."""
    (folder / "components.py").write_text(
        "import numpy as np\n"
        "def segment_function(input_array, roi):\n"
        "    shift = np.random.default_rng(list(roi.begin)).integers(0, 3, 3)\n"
        "    begin, shape = roi.begin / input_array.voxel_size, roi.shape / input_array.voxel_size\n"
        "    cells = [(np.arange(b, b + s) + by) // 4 for b, s, by in zip(begin, shape, shift)]\n"
        "    z, y, x = np.meshgrid(*cells, indexing='ij')\n"
        "    return 1 + 10000 * z + 100 * y + x\n"
    )
    values = np.zeros((15, 14, 12), dtype=np.uint8)
    alone = segment(folder, values, (5, 7, 6), context=2, min_overlap=0.6)
    assert 10 < alone.max() < 300
    shutil.rmtree(folder / "out.zarr")
    Options.instance(compute_context={"type": "LocalTorch", "config": {"distribute_workers": True}})
    monkeypatch.setattr(plan, "_RUN", 1)  # so that there are enough runs of blocks for several workers
    np.testing.assert_array_equal(segment(folder, values, (5, 7, 6), context=2, min_overlap=0.6, num_workers=2), alone)


def make(region: Roi, block_shape: Coordinate) -> SegmentationPlan:
    return plan_of_voxels(LocalArrayIdentifier(Path("volume.zarr"), "raw"), region, block_shape)


def test_numbers_of_segments_never_overflow() -> None:
    """A volume of nearly 2^63 voxels has unique numbers; a larger one is refused when it is planned."""
    edge = 1 << 21
    largest = make(Roi((0, 0, 0), (edge, edge, edge - 1)), Coordinate(1 << 9, 1 << 9, edge - 1))
    largest.check()
    blocks, voxels = largest.grid.shape[0] * largest.grid.shape[1], largest.block_voxels
    last = largest.grid.index(Roi((edge - (1 << 9), edge - (1 << 9), 0), largest.block_shape))
    assert last == blocks - 1
    highest = last * voxels + voxels
    assert 2**62 < highest < 2**63
    # Only the last block has segments, one for each of its voxels.
    first = np.zeros(blocks, dtype=np.int64)
    assert dense_numbers(np.array([last * voxels + 1, highest], np.uint64), first, voxels).tolist() == [0, voxels - 1]
    assert highest < SMALL
    with pytest.raises(ConfigError, match="too many voxels"):
        make(Roi((0, 0, 0), (edge, edge, edge)), Coordinate(1 << 9, 1 << 9, 1 << 9)).check()


def test_applying_a_run_to_a_large_volume_goes_on(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, source = stored_run(tmp_path), new_volume(tmp_path)

    def apply(name: str, bias: float) -> np.ndarray:
        arrays = [LocalArrayIdentifier(tmp_path / "out.zarr", dataset) for dataset in ("prediction", name)]
        parameters = WatershedPostProcessorParameters(id=0, bias=bias, context=Coordinate(44, 44, 44))
        apply_run(run, 1, parameters, source, *arrays, num_workers=1, overwrite=False)
        return stored_values(arrays[1])

    apply("first", 0.5)
    predicted = stored_values(LocalArrayIdentifier(tmp_path / "out.zarr", "prediction"))
    # The network has learned nothing, but most of the affinities are above this.
    bias = float(np.percentile(predicted, 30)) / 255
    whole = apply("whole", bias)
    monkeypatch.setattr(WatershedPostProcessor, "whole_voxels", 0)
    monkeypatch.setattr(WatershedPostProcessor.process, "__defaults__", (1, Coordinate(16, 16)))
    process, done = Relabeling.process, []

    def fails(operation: Relabeling, block: Any) -> None:
        if len(done) == 4:
            raise BlockwiseError("the disk is away")
        process(operation, block)
        done.append(block)

    monkeypatch.setattr(Relabeling, "process", fails)
    with pytest.raises(BlockwiseError, match="the disk is away"):
        apply("blocks", bias)
    monkeypatch.setattr(Relabeling, "process", process)
    monkeypatch.setattr(Fragments, "process", fails)  # it has nothing to do any more
    labels = apply("blocks", bias)
    assert labels.max() == whole.max() > 1
    assert same_parts(labels, whole)


def test_killed_while_intermediate_results_are_deleted(
    options: DaCapoConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.kron(CHECKERS, np.ones((2, 2, 2), np.uint8))
    remove = Workspace.remove

    def remove_and_die(workspace: Workspace) -> None:
        remove(workspace)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "remove", remove_and_die)
        with pytest.raises(KeyboardInterrupt):
            segment(folder, values, (3, 3, 3))
    labels = segment(folder, values, (3, 3, 3))
    assert same_parts(labels, ndimage.label(values)[0])
