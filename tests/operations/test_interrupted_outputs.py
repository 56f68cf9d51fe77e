"""Blockwise work whose disk fills up, or whose process dies, at a step other than a block: the same call goes on."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise import segment_blockwise
from dacapo.blockwise.conversion import WRITERS, Export, Layout
from dacapo.blockwise.journal import Journal, Resume
from dacapo.blockwise.journal.identity import code_identity
from dacapo.blockwise.outputs import check_output
from dacapo.blockwise.scheduling.run_operation import run_operation
from dacapo.blockwise.segmentation.cross_block_merges import read_cross_block_merges
from dacapo.blockwise.segmentation.workspace import Workspace
from dacapo.blockwise.worker.reports import deaths
from dacapo.blockwise.worker.taken import blocks_of_dead_workers
from dacapo.convert import convert
from dacapo.errors import BlockwiseError, StorageError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray, open_array
from dacapo.experiments.datasplits.datasets.arrays.zarr3_files import create_zarr3_group
from dacapo.options import DaCapoConfig
from dacapo.store import folders
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.files import files_below
from tests.helpers.invert import Invert, make_invert
from tests.helpers.processes import dying_at, killed, largest_file
from tests.helpers.volumes import OFFSET, VOXEL_SIZE, stored_values, write_array

VALUES = np.random.default_rng(0).integers(1, 200, (4, 4, 12)).astype(np.uint8)
ALWAYS: dict[str, Any] = {"overwrite": False, "resume": Resume.ALWAYS}


@pytest.fixture
def operation(tmp_path: Path) -> Invert:
    return make_invert(tmp_path, VALUES, (4, 4, 2))


def full(*_: Any, **__: Any) -> None:
    raise StorageError("the disk is full")


@pytest.mark.parametrize("file_format", ["zarr2", "zarr3"])
def test_an_output_that_could_not_be_described_is_made_by_the_next_call(
    options: DaCapoConfig, operation: Invert, monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    if file_format == "zarr3":
        create_zarr3_group(operation.output.container)
    with monkeypatch.context() as patch:
        patch.setattr(ZarrArray, "add_metadata", full)
        with pytest.raises(StorageError, match="full"):
            run_operation(operation, **ALWAYS)
    assert (operation.output.container / operation.output.dataset).exists()
    run_operation(operation, **ALWAYS)
    np.testing.assert_array_equal(stored_values(operation.output), 255 - VALUES)


def test_a_segmentation_whose_second_array_could_not_be_made_goes_on(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_array(tmp_path / "in.zarr", "raw", VALUES)
    function = tmp_path / "components.py"
    function.write_text(
        "from scipy import ndimage\ndef segment_function(array, roi):\n    return ndimage.label(array[roi] > 100)[0]\n"
    )
    total, block = Roi(OFFSET, Coordinate(VALUES.shape) * VOXEL_SIZE), Roi((0, 0, 0), Coordinate(4, 4, 4) * VOXEL_SIZE)

    def segment() -> None:
        where = {"input_container": source.container, "input_dataset": "raw"}
        where |= {"output_container": tmp_path / "out.zarr", "output_dataset": "labels"}
        segment_blockwise(function, VOXEL_SIZE, total, block, block, num_workers=1, into_existing=False, **where)

    create = ZarrArray.create_from_array_identifier

    def fails_for_fragments(identifier: LocalArrayIdentifier, *args: Any, **kwargs: Any) -> Any:
        return full() if identifier.dataset == "fragments" else create(identifier, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(ZarrArray, "create_from_array_identifier", fails_for_fragments)
        with pytest.raises(StorageError, match="full"):
            segment()
    segment()
    assert stored_values(LocalArrayIdentifier(tmp_path / "out.zarr", "labels")).any()


@pytest.mark.destructive
def test_an_array_is_whole_or_absent_whenever_the_process_that_makes_it_is_killed(tmp_path: Path) -> None:
    place, moment, was_killed = LocalArrayIdentifier(tmp_path / "out.zarr", "a/b"), 0, True
    region = Roi(OFFSET, Coordinate(4, 4, 4) * VOXEL_SIZE)

    def make(number: int) -> ZarrArray:
        return ZarrArray.create_from_array_identifier(
            place, ["z", "y", "x"], region, None, VOXEL_SIZE, "uint8", overwrite=True, attributes={"number": number}
        )

    while was_killed:
        make(moment)[region] = moment + 1

        def work(moment: int = moment) -> None:
            steps = ["mkdir", "rename", "replace", "unlink", "rmdir"]
            dying_at(moment, [(folders, "exchange"), *((os, step) for step in steps)])
            make(moment + 1)

        was_killed = killed(work)
        array = ZarrArray.open_from_array_identifier(place, mode="r")
        found = array.attrs["number"]
        assert found in (moment, moment + 1)
        assert (array[region] == (moment + 1 if found == moment else 0)).all()
        assert array.voxel_size == VOXEL_SIZE
        moment += 1
    assert moment > 5


@pytest.mark.destructive
def test_a_conversion_that_is_killed_while_it_replaces_another_leaves_no_half_of_it(tmp_path: Path) -> None:
    source, other = (write_array(tmp_path / f"{number}.zarr", "raw", VALUES * number) for number in (1, 2))
    output, moment, was_killed = tmp_path / "planes", 0, True
    make = functools.partial(convert, output_path=output, file_format="tiff-planes")
    while was_killed:
        shutil.rmtree(output, ignore_errors=True)
        make(other.container / "raw", overwrite=True)

        def work(moment: int = moment) -> None:
            left, remove = iter(range(moment)), shutil.rmtree

            def dies_in_mid_removal(path: Path, *args: Any, **kwargs: Any) -> None:
                if next(left, None) is None:
                    for plane in Path(path).glob("*.tif"):
                        plane.unlink()
                        break
                    os._exit(9)
                remove(path, *args, **kwargs)

            shutil.rmtree = dies_in_mid_removal  # type: ignore[assignment]
            make(source.container / "raw", overwrite=True)

        was_killed = killed(work)
        if not output.exists():
            make(source.container / "raw")
        array = open_array(output)
        found = array[array.roi]
        assert (found == VALUES).all() or (found == VALUES * 2).all()
        moment += 1
    assert moment > 1


@pytest.mark.destructive
@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_disk_that_is_full_leaves_a_file_of_hdf5_whole(tmp_path: Path, size: int) -> None:
    values = np.random.default_rng(1).integers(0, 256, (16, 300, 300)).astype(np.uint8)
    source, output = write_array(tmp_path / "in.zarr", "raw", values), tmp_path / "out.h5"
    make = functools.partial(convert, source.container / "raw", output)
    with largest_file(size), pytest.raises((BlockwiseError, StorageError), match=r"cannot write .*File too large"):
        make()
    assert not output.exists()
    make()
    array = open_array(output)
    np.testing.assert_array_equal(array[array.roi], values)


@pytest.mark.destructive
@pytest.mark.parametrize("file_format", ["n5", "precomputed"])
def test_a_disk_that_is_full_is_named_by_what_tensorstore_writes(tmp_path: Path, file_format: str) -> None:
    values = np.random.default_rng(1).integers(0, 256, (64, 64, 64)).astype(np.uint8)
    source = write_array(tmp_path / "in.zarr", "raw", values)
    writer = WRITERS[file_format](tmp_path / "out", "s0", Layout.like(open_array(source.container / "raw")))
    message = r"cannot write .*out: File too large; raise"
    with largest_file(10), pytest.raises(StorageError, match=message):
        writer.create()
    writer.create()
    index = (slice(0, 64),) * 3
    with largest_file(10_000), pytest.raises(StorageError, match=message):
        writer.write(index, values)
    writer.write(index, values)


@pytest.fixture
def large(tmp_path: Path) -> LocalArrayIdentifier:
    """An array that has a smaller level."""
    values = np.random.default_rng(1).integers(0, 256, (4, 300, 300)).astype(np.uint8)
    return write_array(tmp_path / "large.zarr", "raw", values)


@pytest.mark.parametrize("moment", ["a block of the level", "the note that it was created", "the end"])
def test_a_level_of_a_conversion_that_stops_is_resumed(
    tmp_path: Path, large: LocalArrayIdentifier, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    make = functools.partial(convert, large.container / "raw", tmp_path / "out.precomputed")
    owner, name = {
        "a block of the level": (Export, "process"),
        "the note that it was created": (Journal, "save"),
        "the end": (Journal, "complete"),
    }[moment]
    real = getattr(owner, name)

    def stops(self: Any, *args: Any) -> None:
        if str(self.output.dataset).endswith(".1") and (name != "save" or self.created):
            raise KeyboardInterrupt
        real(self, *args)

    monkeypatch.setattr(owner, name, stops)
    with pytest.raises(KeyboardInterrupt):
        make()
    monkeypatch.undo()
    make()
    levels = [open_array(tmp_path / "out.precomputed", name) for name in ("s0", "s1")]
    np.testing.assert_array_equal(levels[0][levels[0].roi], stored_values(large))
    assert levels[1][levels[1].roi].any()


def test_a_deleted_output_with_levels_is_made_again(tmp_path: Path, large: LocalArrayIdentifier) -> None:
    output = tmp_path / "out.precomputed"
    convert(large.container / "raw", output)
    expected = {path.relative_to(output): path.read_bytes() for path in files_below(output)}
    shutil.rmtree(output)
    convert(large.container / "raw", output)
    assert {path.relative_to(output): path.read_bytes() for path in files_below(output)} == expected


@pytest.mark.parametrize("file_format", ["png", "precomputed", "n5", "tiff", "hdf5"])
def test_nothing_of_a_conversion_that_was_not_finished_is_in_another(
    tmp_path: Path, large: LocalArrayIdentifier, monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    output = tmp_path / "out" / "image"
    make = functools.partial(convert, large.container / "raw", output, file_format=file_format)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "complete", full)
        with pytest.raises(StorageError, match="full"):
            make()
    make(roi=Roi(OFFSET, Coordinate(2, 300, 300) * VOXEL_SIZE), overwrite=True)
    array = open_array(output / "raw" if file_format == "n5" else output)
    np.testing.assert_array_equal(array[array.roi], stored_values(large)[:2])


@pytest.mark.destructive
def test_space_for_what_is_written_through_memory_is_taken_before(tmp_path: Path) -> None:
    source = write_array(tmp_path / "in.zarr", "raw", np.zeros((64, 64, 64), np.uint8))
    sizes: list[int] = []
    taken = os.posix_fallocate

    def noted(handle: int, begin: int, size: int) -> None:
        taken(handle, begin, size)
        sizes.append(os.fstat(handle).st_blocks * 512)

    os.posix_fallocate = noted
    try:
        convert(source.container / "raw", tmp_path / "out.tif")
    finally:
        os.posix_fallocate = taken
    assert sizes
    assert max(sizes) >= 64**3
    assert tifffile.imread(tmp_path / "out.tif").shape == (64, 64, 64)


def graph(folder: Path) -> LocalArrayIdentifier:
    return LocalArrayIdentifier(folder, "output")


UNREADABLE: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "the parameters of a journal": (".output.blocks", lambda folder: Journal.read(graph(folder))),
    "whether work is complete": (".output.blocks", lambda folder: Journal(graph(folder), {}, {}).is_complete),
    "an output": ("above", lambda folder: check_output(LocalArrayIdentifier(folder, "above/output"), False)),
    "segments of blocks": ("blocks", lambda folder: read_cross_block_merges(folder / "blocks")),
    "intermediate results": ("blocks", lambda folder: Workspace(folder / "blocks").remove()),
    "reports of dead workers": ("logs", lambda folder: deaths(folder / "logs")),
    "blocks of dead workers": ("logs", lambda folder: blocks_of_dead_workers(folder / "logs")),
    "done markers": ("done", lambda folder: list(files_below(folder))),
    "code": ("code", lambda folder: code_identity(folder / "code" / "function.py")),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_folder_of_blockwise_work_that_cannot_be_read_is_not_taken_for_an_empty_one(
    options: DaCapoConfig, tmp_path: Path, name: str
) -> None:
    place, read = UNREADABLE[name]
    (tmp_path / place).symlink_to(place)  # a loop, which not even root can follow
    with pytest.raises(StorageError, match=rf"cannot (read|remove).*{tmp_path / place}"):
        read(tmp_path)
