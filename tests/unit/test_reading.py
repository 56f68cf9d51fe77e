"""Reading through the cache of chunks, and several regions at once."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import tensorstore
from funlib.geometry import Coordinate, Roi

from dacapo.errors import RoiError, StorageError
from dacapo.experiments.datasplits.datasets.arrays import (
    BinarizeArrayConfig,
    NumpyArray,
    OnesArray,
    ZarrArray,
    ZarrArrayConfig,
)
from dacapo.experiments.datasplits.datasets.arrays.chunk_cache import cached_chunks, share_cache
from dacapo.experiments.datasplits.datasets.arrays.reading import Read, read_all
from dacapo.options import Options
from tests.helpers.arrays import MeetingArray
from tests.helpers.processes import PATIENCE
from tests.helpers.zarr_files import write_zarr2

SHAPE = (20, 30)
ROI = Roi((0, 0), SHAPE)
PLACE = {"axes": ["y", "x"], "resolution": [1, 1], "offset": [0, 0], "units": ["nm", "nm"]}
BYTES_READ = "/tensorstore/kvstore/file/bytes_read"


@pytest.fixture(autouse=True)
def _options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    Options.reset()
    yield
    share_cache(1)
    Options.reset()


def values(dtype: Any = np.uint64) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 100, SHAPE).astype(dtype)


def write(path: Path, data: np.ndarray | None = None, **kwargs: Any) -> ZarrArray:
    """Write values with Zarr, and open them with the package."""
    data = values() if data is None else data
    chosen = {"chunks": (8, 8), "compressor": numcodecs.Blosc(), **kwargs}
    write_zarr2(path, "a", data, PLACE, **chosen)
    return open_(path)


def open_(path: Path, mode: str = "r", dataset: str = "a") -> ZarrArray:
    return ZarrArray(ZarrArrayConfig("array", path, dataset, mode=mode))


def cached(array: Any, roi: Roi = ROI) -> np.ndarray:
    with cached_chunks():
        return array[roi]


def metric(name: str) -> int:
    found = tensorstore.experimental_collect_matching_metrics(name)
    return int(sum(value["value"] for one in found for value in one["values"]))


class TestValues:
    """They are those of reading without the cache."""

    @pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i8", "f2", "f4", "f8", "?", "c8", ">u4", ">f8"])
    def test_types(self, tmp_path: Path, dtype: str) -> None:
        array = write(tmp_path / "data.zarr", values(dtype))
        got = cached(array)
        np.testing.assert_array_equal(got, array[ROI])
        assert got.dtype == array[ROI].dtype == array.dtype

    @pytest.mark.parametrize(
        "compressor",
        [
            None,
            numcodecs.Blosc(cname="zstd", shuffle=numcodecs.Blosc.BITSHUFFLE),
            numcodecs.Zstd(),
            numcodecs.Zstd(checksum=True),
            numcodecs.GZip(),
            numcodecs.Zlib(),
            numcodecs.BZ2(),
            numcodecs.LZ4(),  # not known to TensorStore
            numcodecs.LZMA(),
        ],
        ids=repr,
    )
    def test_codecs(self, tmp_path: Path, compressor: Any) -> None:
        array = write(tmp_path / "data.zarr", compressor=compressor)
        np.testing.assert_array_equal(cached(array), values())

    @pytest.mark.parametrize(
        "kwargs",
        [
            {"order": "F"},
            {"dimension_separator": "/"},
            {"filters": [numcodecs.Delta("u8")]},
            {"chunks": (20, 30)},
            {"chunks": (1, 30)},
            {"chunks": (64, 64)},
        ],
        ids=str,
    )
    def test_layouts(self, tmp_path: Path, kwargs: dict[str, Any]) -> None:
        array = write(tmp_path / "data.zarr", **kwargs)
        roi = Roi((3, 5), (14, 21))
        np.testing.assert_array_equal(cached(array, roi), values()[3:17, 5:26])

    @pytest.mark.parametrize("fill", [0, 7, "NaN", None])
    def test_chunks_that_are_not_there(self, tmp_path: Path, fill: Any) -> None:
        data = values("f4")
        array = write(tmp_path / "data.zarr", data, fill_value=fill)
        (tmp_path / "data.zarr" / "a" / "1.1").unlink()
        got = cached(array)
        expected = 0 if fill is None else float(fill)
        np.testing.assert_array_equal(got[8:16, 8:16], np.full((8, 8), expected, dtype=np.float32))
        if fill is not None:
            np.testing.assert_array_equal(got, array[ROI])

    @pytest.mark.parametrize("driver", ["n5", "zarr3"])
    def test_other_formats(self, tmp_path: Path, driver: str) -> None:
        folder = tmp_path / "data" / "a"
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{folder}/"}}
        data = values("u4")
        stored = data.T if driver == "n5" else data
        tensorstore.open(spec, create=True, dtype="uint32", shape=stored.shape).result().write(stored).result()
        name = "attributes.json" if driver == "n5" else "zarr.json"
        header = json.loads((folder / name).read_text())
        place = {"axes": ["x", "y"]} if driver == "n5" else {"axes": ["y", "x"]}
        place |= {"resolution": [1, 1], "offset": [0, 0], "units": ["nm", "nm"]}
        header |= place if driver == "n5" else {"attributes": place}
        (folder / name).write_text(json.dumps(header))
        array = open_(tmp_path / "data")
        np.testing.assert_array_equal(cached(array), data)
        np.testing.assert_array_equal(array[ROI], data)

    def test_views_read_their_sources_through_the_cache(self, tmp_path: Path) -> None:
        source = write(tmp_path / "data.zarr")
        config = BinarizeArrayConfig("view", source.config, [("all", [])])
        view = config.array_type(config)
        cached(view)
        before = metric(BYTES_READ)
        np.testing.assert_array_equal(cached(view)[0], values() > 0)
        assert metric(BYTES_READ) == before


class TestCache:
    def test_chunks_are_decoded_once(self, tmp_path: Path) -> None:
        array = write(tmp_path / "data.zarr")
        before = metric(BYTES_READ)
        cached(array)
        after = metric(BYTES_READ)
        assert after > before
        cached(array, Roi((1, 1), (9, 9)))
        cached(open_(tmp_path / "data.zarr"))  # shared between arrays
        assert metric(BYTES_READ) == after

    def test_only_chunks_of_the_region_are_read(self, tmp_path: Path) -> None:
        array = write(tmp_path / "data.zarr", compressor=None)
        before = metric(BYTES_READ)
        cached(array, Roi((8, 7), (8, 2)))
        assert metric(BYTES_READ) - before == 2 * 8 * 8 * 8

    def test_it_is_used_only_when_asked_for(self, tmp_path: Path) -> None:
        array = write(tmp_path / "data.zarr")
        before = metric(BYTES_READ)
        array[ROI]
        assert metric(BYTES_READ) == before

    @pytest.mark.parametrize("processes", [1, 4])
    def test_it_is_bounded_in_bytes(self, tmp_path: Path, processes: int) -> None:
        data = np.random.default_rng(0).integers(0, 255, (256, 256)).astype(np.uint8)
        array = write(tmp_path / "data.zarr", data, chunks=(64, 64), compressor=None)
        Options.instance(chunk_cache_bytes=8 * 4096 * processes)
        share_cache(processes + 1)
        share_cache(processes)
        whole, half = Roi((0, 0), (256, 256)), Roi((0, 0), (64, 256))
        cached(array, whole)
        cached(array, half)
        before = metric(BYTES_READ)
        cached(array, half)  # four chunks of the eight that there is space for
        assert metric(BYTES_READ) == before
        cached(array, whole)
        assert metric(BYTES_READ) - before >= 8 * 4096
        np.testing.assert_array_equal(cached(array, whole), data)

    def test_no_memory_means_no_cache(self, tmp_path: Path) -> None:
        array = write(tmp_path / "data.zarr")
        Options.instance(chunk_cache_bytes=0)
        share_cache(2)
        cached(array)
        before = metric(BYTES_READ)
        np.testing.assert_array_equal(cached(array), values())
        assert metric(BYTES_READ) > before

    def test_copies_open_the_array_again(self, tmp_path: Path) -> None:
        array = write(tmp_path / "data.zarr")
        cached(array)
        for other in (pickle.loads(pickle.dumps(array)), copy.deepcopy(array)):
            np.testing.assert_array_equal(cached(other), values())


class TestChanges:
    """Nothing old is returned."""

    def test_written_through_the_array(self, tmp_path: Path) -> None:
        write(tmp_path / "data.zarr")
        reader, writer = open_(tmp_path / "data.zarr"), open_(tmp_path / "data.zarr", "a")
        cached(reader)
        for number in range(20):
            writer[Roi((3, 3), (6, 6))] = number
            expected = values()
            expected[3:9, 3:9] = number
            np.testing.assert_array_equal(cached(reader), expected)
            np.testing.assert_array_equal(cached(writer), expected)

    def test_written_by_another_process(self, tmp_path: Path) -> None:
        array = write(tmp_path / "data.zarr")
        cached(array)
        script = "import sys, zarr; zarr.open_array(sys.argv[1], mode='r+')[:] = 3"
        subprocess.run([sys.executable, "-c", script, str(tmp_path / "data.zarr" / "a")], check=True)
        np.testing.assert_array_equal(cached(array), np.full(SHAPE, 3))

    def test_a_chunk_that_appears_and_one_that_goes(self, tmp_path: Path) -> None:
        array = write(tmp_path / "data.zarr")
        chunk, aside = tmp_path / "data.zarr" / "a" / "0.0", tmp_path / "aside"
        chunk.rename(aside)
        assert not cached(array)[:8, :8].any()
        aside.rename(chunk)
        np.testing.assert_array_equal(cached(array), values())
        chunk.unlink()
        assert not cached(array)[:8, :8].any()

    def test_replaced_by_an_array_of_another_shape(self, tmp_path: Path) -> None:
        cached(write(tmp_path / "data.zarr"))
        other = np.arange(12, dtype=np.uint8).reshape(3, 4)
        array = write(tmp_path / "data.zarr", other)
        np.testing.assert_array_equal(cached(array, Roi((0, 0), (3, 4))), other)


def _truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "truncated": _truncate,
    "empty": lambda file: os.truncate(file, 0),
    "garbage": lambda file: file.write_bytes(np.random.default_rng(0).bytes(300)),
}


class TestDamage:
    """A damaged chunk is an error that names array and chunk, never zeros."""

    @pytest.mark.parametrize("compressor", [numcodecs.Blosc(), numcodecs.GZip(), None], ids=repr)
    @pytest.mark.parametrize("damage", DAMAGES)
    @pytest.mark.parametrize("read", [cached, lambda array, roi: array[roi], lambda *what: read_all([what, what])[0]])
    def test_it_is_named(self, tmp_path: Path, compressor: Any, damage: str, read: Callable[..., Any]) -> None:
        array = write(tmp_path / "data.zarr", compressor=compressor)
        DAMAGES[damage](tmp_path / "data.zarr" / "a" / "1.2")
        with pytest.raises(StorageError, match=r"array 'array' .*data\.zarr/a.*chunk .*data\.zarr/a/1\.2 is damaged"):
            read(array, ROI)
        np.testing.assert_array_equal(read(array, Roi((0, 0), (20, 16))), values()[:, :16])

    @pytest.mark.parametrize(("chunks", "order"), [((8, 8), "C"), ((8, 8), "F"), ((1, 30), "C"), ((10, 1), "C")])
    @pytest.mark.parametrize("compressor", [numcodecs.Blosc(), numcodecs.GZip(), numcodecs.LZ4()], ids=repr)
    def test_too_few_values(self, tmp_path: Path, chunks: tuple[int, int], order: Any, compressor: Any) -> None:
        """Zarr would return whatever was in memory before, if just that chunk is read."""
        array = write(tmp_path / "data.zarr", chunks=chunks, order=order, compressor=compressor)
        (tmp_path / "data.zarr" / "a" / "1.0").write_bytes(compressor.encode(np.arange(4, dtype=np.uint64)))
        chunk = Roi((chunks[0], 0), chunks)
        for roi in (chunk, ROI):
            for read in (cached, lambda array, roi: array[roi]):
                with pytest.raises(StorageError, match=r"data\.zarr/a/1\.0 is damaged"):
                    read(array, roi)
        for roi in (Roi((0, 0), chunks), Roi((0, 0), (1, 30)), Roi((0, 0), (chunks[0], 30))):
            inside = roi.intersect(Roi((0, 0), (chunks[0], 30)))
            np.testing.assert_array_equal(array[inside], values()[inside.to_slices()])

    def test_it_is_named_in_subfolders(self, tmp_path: Path) -> None:
        array = write(tmp_path / "data.zarr", dimension_separator="/")
        _truncate(tmp_path / "data.zarr" / "a" / "2" / "3")
        with pytest.raises(StorageError, match=r"chunk .*a/2/3 is damaged"):
            cached(array)

    def test_one_that_was_read_before(self, tmp_path: Path) -> None:
        array = write(tmp_path / "data.zarr")
        cached(array)
        _truncate(tmp_path / "data.zarr" / "a" / "1.2")
        with pytest.raises(StorageError, match=r"a/1\.2 is damaged"):
            cached(array)

    @pytest.mark.parametrize("read", [cached, lambda array: array[ROI]])
    def test_arrays_sent_to_another_process_notice_it_too(self, tmp_path: Path, read: Callable[..., Any]) -> None:
        array = write(tmp_path / "data.zarr")
        sent = pickle.loads(pickle.dumps(array))
        np.testing.assert_array_equal(read(sent), values())
        chunk = tmp_path / "data.zarr" / "a" / "1.2"
        os.truncate(chunk, chunk.stat().st_size - 1)
        for one in (array, sent):
            with pytest.raises(StorageError, match=r"a/1\.2 is damaged"):
                read(one)

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_n5(self, tmp_path: Path, damage: str) -> None:
        folder = tmp_path / "data.n5" / "a"
        spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{folder}/"}}
        spec["metadata"] = {"compression": {"type": "gzip"}, "blockSize": [8, 8]}
        tensorstore.open(spec, create=True, dtype="uint64", shape=SHAPE).result().write(values()).result()
        header = json.loads((folder / "attributes.json").read_text())
        (folder / "attributes.json").write_text(json.dumps(header | PLACE))
        array = open_(tmp_path / "data.n5")
        DAMAGES[damage](folder / "1" / "2")
        for read in (cached, lambda array: array[array.roi]):
            with pytest.raises(StorageError, match=r"array 'array' .*data\.n5/a.*a/1/2"):
                read(array, *([array.roi] if read is cached else []))


FORK = """
import os, sys
from pathlib import Path
import numpy as np
from funlib.geometry import Roi
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray, ZarrArrayConfig
from dacapo.experiments.datasplits.datasets.arrays.reading import read_all

path, before = sys.argv[1:]
array = ZarrArray(ZarrArrayConfig("array", Path(path), "a", mode="r"))
roi = Roi((0, 0), (20, 30))
expected = array[roi]
if before == "used":
    read_all([(array, roi), (array, roi)])
def bytes_read():
    import tensorstore
    found = tensorstore.experimental_collect_matching_metrics("/tensorstore/kvstore/file/bytes_read")
    return sum(value["value"] for one in found for value in one["values"])

child = os.fork()
if child == 0:
    got = read_all([(array, roi), (array, roi)])
    before = bytes_read()
    (array.file_name / "a" / "0.0").touch()  # has to be read again, if it was read with TensorStore
    got += read_all([(array, roi)])
    right = all(np.array_equal(values, expected) for values in got)
    os._exit(10 if not right else int(bytes_read() > before))
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize(("before", "through_cache"), [("not used", True), ("used", False)])
def test_forked_processes(tmp_path: Path, before: str, through_cache: bool) -> None:
    """One reads through its own cache, or without if TensorStore was used before the fork, which would end it."""
    write(tmp_path / "data.zarr")
    command = [sys.executable, "-c", FORK, str(tmp_path / "data.zarr"), before]
    got = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert int(got.stdout) == through_cache, got.stderr


def in_memory(data: np.ndarray, kind: type[NumpyArray] = NumpyArray) -> NumpyArray:
    return kind.from_np_array(data, Roi((0, 0), data.shape), Coordinate(1, 1), ["y", "x"])


class TestReadAll:
    def test_the_values_are_those_of_single_reads(self, tmp_path: Path) -> None:
        stored, memory = write(tmp_path / "data.zarr"), in_memory(values(np.uint8))
        ones = OnesArray.like(stored)
        rois = [Roi((i, 2 * i), (5 + i // 2, 4)) for i in range(10)]
        reads = [(array, roi) for roi in rois for array in (stored, memory, ones)]
        for got, (array, roi) in zip(read_all(reads), reads, strict=True):
            np.testing.assert_array_equal(got, array[roi])
            assert got.dtype == array.dtype

    def test_nothing(self) -> None:
        assert read_all([]) == []

    def test_stored_arrays_are_read_at_the_same_time(self) -> None:
        array = in_memory(values(), MeetingArray)
        array.barrier = threading.Barrier(6)  # type: ignore[attr-defined]
        reads = [(array, Roi((i, 0), (1, 30))) for i in range(6)]
        np.testing.assert_array_equal(np.concatenate(read_all(reads)), values()[:6])

    def test_other_arrays_are_read_in_this_thread(self) -> None:
        threads = []

        class Recording(NumpyArray):
            def __getitem__(self, roi: Roi) -> np.ndarray:
                threads.append(threading.current_thread())
                return super().__getitem__(roi)

        array = in_memory(values(), Recording)
        read_all([(array, ROI)] * 3)
        assert set(threads) == {threading.current_thread()}
        assert not array.is_stored
        assert not OnesArray.like(in_memory(values(), MeetingArray)).is_stored

    def test_an_error_comes_through(self, tmp_path: Path) -> None:
        array = write(tmp_path / "data.zarr")
        with pytest.raises(RoiError, match="not inside"):
            read_all([(array, ROI), (array, Roi((0, 0), (99, 99))), (array, ROI)])

    @pytest.mark.parametrize(("padding", "mode"), [("reflect", "reflect"), ("zero", "constant")])
    def test_padding(self, tmp_path: Path, padding: Any, mode: Any) -> None:
        array = write(tmp_path / "data.zarr")
        whole = Read(array, Roi((-4, -3), (28, 36)), padding)
        part = Read(array, Roi((0, 0), SHAPE), padding, inside=Roi((4, 6), (12, 18)))
        got = read_all([whole, part])
        np.testing.assert_array_equal(got[0], np.pad(values(), ((4, 4), (3, 3)), mode=mode))
        np.testing.assert_array_equal(got[1], np.pad(values()[4:16, 6:24], ((4, 4), (6, 6)), mode=mode))

    def test_outside_of_a_part_without_padding(self) -> None:
        with pytest.raises(RoiError, match="extends outside of"):
            read_all([Read(in_memory(values()), ROI, inside=Roi((1, 1), (2, 2)))])
