"""Which chunks of arrays on disk are stored, and which are read as zeros."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
from funlib.geometry import Coordinate, Roi

from dacapo.errors import StorageError
from dacapo.experiments.datasplits.datasets.arrays import (
    IntensitiesArray,
    IntensitiesArrayConfig,
    ZarrArray,
    ZarrArrayConfig,
)
from dacapo.experiments.datasplits.datasets.arrays.stored_chunks import chunk_files
from dacapo.experiments.preflight.look import chunks_of
from tests.helpers.volumes import write_array


def test_chunks_that_are_not_stored_are_told_in_all_formats(tmp_path: Path) -> None:
    codecs = [{"name": "sharding_indexed", "configuration": {"chunk_shape": [4, 4]}}]
    grid = {"name": "regular", "configuration": {"chunk_shape": [8, 8]}}
    specs: dict[str, dict[str, Any]] = {
        "zarr": {"chunks": [4, 4]},
        "zarr3": {"chunk_grid": grid, "codecs": codecs},
        "n5": {"blockSize": [4, 4], "compression": {"type": "gzip"}},
    }
    for driver, metadata in specs.items():
        path = tmp_path / driver / "data"
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}, "metadata": metadata}
        opened = tensorstore.open(spec, create=True, dtype=tensorstore.uint8, shape=[16, 12]).result()
        opened[0:4, 4:8] = 1
        array = ZarrArray(ZarrArrayConfig("data", tmp_path / driver, "data", axes=["y", "x"]))
        stored = array.stored_chunks(array.roi)
        there = (1, 0) if driver == "n5" else (0, 1)
        assert len(stored) == 12
        assert [number for number, is_there in stored.items() if is_there] == [there], driver


def test_a_view_of_files_is_asked_for_its_chunks(tmp_path: Path) -> None:
    for name, value in (("full", 1), ("empty", 0)):
        values = np.full((40, 40), value, np.uint8)
        write_array(tmp_path / "data.zarr", name, values, Coordinate(4, 4), Coordinate(40, 40))
        source = ZarrArrayConfig(name, tmp_path / "data.zarr", name)
        view = IntensitiesArray(IntensitiesArrayConfig("view", source, 0, 255))
        assert list(chunks_of(view, view.roi).values()) == [bool(value)]


SPECS: dict[str, dict[str, Any]] = {
    "zarr": {"chunks": [4, 4], "dimension_separator": "/"},
    "zarr with dots": {"chunks": [4, 4]},
    "zarr3": {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 4]}}},
    "zarr3 with dots": {
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 4]}},
        "chunk_key_encoding": {"name": "v2"},
    },
    "n5": {"blockSize": [4, 4], "compression": {"type": "gzip"}},
}
CHUNK = {"zarr": "1/0", "zarr with dots": "1.0", "zarr3": "c/1/0", "zarr3 with dots": "1.0", "n5": "0/1"}


def stored_ones(folder: Path, kind: str) -> tuple[ZarrArray, Path]:
    """Write an array of ones; return it, opened, and the file of the chunk that begins at (4, 0)."""
    driver = kind.partition(" ")[0]
    path = folder / f"array.{driver}" / "data"
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}, "metadata": SPECS[kind]}
    shape = [4, 8] if driver == "n5" else [8, 4]  # N5 lists its axes from the fastest to the slowest
    opened = tensorstore.open(spec, create=True, dtype=tensorstore.uint8, shape=shape).result()
    opened[...] = 1
    return ZarrArray(ZarrArrayConfig("data", path.parent, "data", axes=["y", "x"], mode="a")), path / CHUNK[kind]


@pytest.mark.parametrize("kind", SPECS)
def test_only_a_missing_chunk_is_read_as_the_fill_value(tmp_path: Path, kind: str) -> None:
    array, chunk = stored_ones(tmp_path, kind)
    chunk.unlink()
    np.testing.assert_array_equal(array[array.roi].ravel(), [1] * 16 + [0] * 16)
    chunk.symlink_to("nowhere")
    with pytest.raises(StorageError, match=f"cannot read {chunk}: the link leads to nowhere, which is missing"):
        array[array.roi]
    np.testing.assert_array_equal(array[Roi((0, 0), (4, 4))], 1)
    chunk.unlink()
    chunk.symlink_to(chunk.name)
    with pytest.raises(StorageError, match=f"cannot read {chunk}: Too many levels of symbolic links"):
        array[array.roi]
    chunk.unlink()
    chunk.mkdir()
    with pytest.raises(StorageError, match=f"cannot read {chunk}: expected the file of a chunk"):
        array[array.roi]


@pytest.mark.parametrize("kind", [kind for kind in SPECS if "dots" not in kind])
def test_a_missing_folder_above_a_chunk_is_told_from_a_link_that_leads_nowhere(tmp_path: Path, kind: str) -> None:
    array, chunk = stored_ones(tmp_path, kind)
    shutil.rmtree(chunk.parent)
    values = array[array.roi]
    assert not values[4:].any()
    chunk.parent.symlink_to("nowhere")
    with pytest.raises(StorageError, match=f"cannot read {chunk.parent}: the link leads to nowhere"):
        array[array.roi]
    chunk.parent.unlink()
    chunk.parent.write_text("")
    with pytest.raises(StorageError, match=f"cannot read .*: {chunk.parent} is no folder"):
        array[array.roi]


PLACE = (6, -4, 10)
"""The first voxel of precomputed volumes, z, y, x."""


def precomputed_ones(
    folder: Path, hashing: str | None = None, channels: int = 1, bits: tuple[int, int, int] = (1, 1, 5)
) -> tuple[Path, set[str]]:
    """Write a precomputed volume of ones; return the folder of its only scale, and the names of the files there."""
    scale: dict[str, Any] = {
        "size": [9, 10, 11],
        "resolution": [4, 4, 8],
        "voxel_offset": PLACE[::-1],
        "encoding": "raw",
        "chunk_size": [4, 4, 6],
        "key": "s0",
    }
    if hashing is not None:
        names = ("preshift_bits", "minishard_bits", "shard_bits")
        scale["sharding"] = {
            "@type": "neuroglancer_uint64_sharded_v1",
            "hash": hashing,
            **dict(zip(names, bits, strict=True)),
        }
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{folder / 'ones'}/"},
        "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": channels},
        "scale_metadata": scale,
    }
    tensorstore.open(spec, create=True).result()[...] = 1
    return folder / "ones" / "s0", {path.name for path in (folder / "ones" / "s0").iterdir()}


@pytest.mark.parametrize("channels", [1, 2])
def test_chunks_of_precomputed_volumes(tmp_path: Path, channels: int) -> None:
    place, names = precomputed_ones(tmp_path, channels=channels)
    array = ZarrArray(ZarrArrayConfig("ones", place.parent, "s0"))
    files = dict(chunk_files(array._found, array._opened, array.slices(array.roi)))
    assert {Path(file).name for file in files.values()} == names
    assert len(files) == len(names) == 2 * 3 * 3
    chunk = place / "14-18_-4-0_12-17"
    chunk.unlink()
    number = (*[0] * (channels == 2), 1, 0, 1)
    assert array.stored_chunks(array.roi) == {n: n != number for n in files}
    part = Roi((12 * 8, -4 * 4, 14 * 4), (5 * 8, 4 * 4, 4 * 4))
    values = array[array.roi]
    assert not array[part].any()
    assert np.count_nonzero(values == 0) == array[part].size
    for wrong, reason in (
        (lambda: chunk.symlink_to("nowhere"), f"{chunk}: the link leads to nowhere, which is missing"),
        (lambda: chunk.symlink_to(chunk.name), f"{chunk}: Too many levels of symbolic links"),
        (lambda: chunk.mkdir(), f"{chunk}: expected the file of a chunk"),
        (lambda: Path(f"{chunk}.gz").touch(), f"{chunk}.gz: files compressed as a whole are not; decompress them all"),
    ):
        wrong()
        with pytest.raises(StorageError, match=f"cannot read {reason}"):
            array[part]
        np.testing.assert_array_equal(array[Roi(array.roi.begin, (48, 16, 16))], 1)
        if chunk.is_symlink():
            chunk.unlink()
        elif chunk.is_dir():
            chunk.rmdir()


@pytest.mark.parametrize("hashing", ["identity", "murmurhash3_x86_128"])
@pytest.mark.parametrize("bits", [(1, 1, 5), (0, 0, 0), (0, 2, 3), (2, 0, 9)])
def test_shards_of_precomputed_volumes(tmp_path: Path, hashing: str, bits: tuple[int, int, int]) -> None:
    place, names = precomputed_ones(tmp_path, hashing, bits=bits)
    array = ZarrArray(ZarrArrayConfig("ones", place.parent, "s0"))
    held: dict[str, list[tuple[int, ...]]] = {}
    for number, file in chunk_files(array._found, array._opened, array.slices(array.roi)):
        held.setdefault(Path(file).name, []).append(number)
    assert set(held) == names
    name, numbers = max(held.items(), key=lambda one: len(one[1]))
    (place / name).unlink()
    inside = np.zeros((11, 10, 9), bool)
    for z, y, x in numbers:
        inside[6 * z : 6 * z + 6, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4] = True
    np.testing.assert_array_equal(array[array.roi] == 0, inside)
    (place / name).symlink_to("nowhere")
    with pytest.raises(StorageError, match=f"cannot read {place / name}: the link leads to nowhere"):
        array[array.roi]


def test_the_folder_of_a_precomputed_volume(tmp_path: Path) -> None:
    place, _ = precomputed_ones(tmp_path)
    array = ZarrArray(ZarrArrayConfig("ones", place.parent, "s0"))
    shutil.rmtree(place)
    assert not array[array.roi].any()
    place.symlink_to("nowhere")
    with pytest.raises(StorageError, match=f"cannot read {place}: the link leads to nowhere"):
        array[array.roi]
    place.unlink()
    place.touch()
    with pytest.raises(StorageError, match=f"cannot read .*: {place} is no folder"):
        array[array.roi]


def test_writing_a_part_of_a_chunk_does_not_take_the_rest_for_zeros(tmp_path: Path) -> None:
    array, chunk = stored_ones(tmp_path, "zarr")
    chunk.unlink()
    chunk.symlink_to("nowhere")
    with pytest.raises(StorageError, match="the link leads to nowhere"):
        array[Roi((4, 0), (1, 1))] = 5


def test_links_in_place_of_metadata_are_named(tmp_path: Path) -> None:
    array, chunk = stored_ones(tmp_path, "zarr")
    header = chunk.parents[1] / ".zarray"
    header.unlink()
    header.symlink_to(header.name)
    with pytest.raises(StorageError, match=f"cannot read {header}: Too many levels"):
        ZarrArray(array.config)
    header.unlink()
    header.symlink_to("nowhere")
    with pytest.raises(StorageError, match=f"cannot read {header}: the link leads to nowhere"):
        ZarrArray(array.config)


def open_to_others(folder: Path) -> None:
    """Let other users enter a temporary folder."""
    for above in (folder, *folder.parents[:3]):
        above.chmod(0o755)


AS_NOBODY = """
import os, sys
from pathlib import Path
from dacapo.errors import StorageError
from dacapo.experiments.datasplits.datasets.arrays import open_array
array = open_array(Path(sys.argv[1]))
os.chmod(sys.argv[2], 0)
os.setuid(65534)
try:
    array[array.roi]
except StorageError as error:
    print(error)
try:
    open_array(Path(sys.argv[1]))
except StorageError as error:
    print(error)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("place", ["chunk", "folder"])
def test_what_may_not_be_read_is_named(tmp_path: Path, place: str) -> None:
    _, chunk = stored_ones(tmp_path, "zarr")
    open_to_others(tmp_path)
    closed = chunk.parent if place == "chunk" else chunk.parents[1]
    command = [sys.executable, "-c", AS_NOBODY, str(chunk.parents[1]), str(closed)]
    got = subprocess.run(command, capture_output=True, text=True)
    assert got.returncode == 0, got.stderr
    lines = got.stdout.splitlines()
    assert f"cannot read {chunk.parents[1] / '0' / '0' if place == 'folder' else chunk}: Permission denied" in lines[0]
    assert (
        (f"cannot read {closed / '.zarray'}: Permission denied" in lines[1]) if place == "folder" else len(lines) == 1
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("hashing", [None, "identity"])
def test_files_of_a_precomputed_volume_that_may_not_be_read(tmp_path: Path, hashing: str | None) -> None:
    place, names = precomputed_ones(tmp_path, hashing)
    open_to_others(tmp_path)
    closed = place / min(names)
    command = [sys.executable, "-c", AS_NOBODY, str(place.parent), str(closed)]
    got = subprocess.run(command, capture_output=True, text=True)
    assert got.returncode == 0, got.stderr
    assert len(got.stdout.splitlines()) == 1
    assert str(closed) in got.stdout
    assert "Permission denied" in got.stdout
