"""Arrays at URLs: how they are named, what is asked of servers, and what is said where that fails."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import fsspec
import h5py
import imageio.v3
import numpy as np
import pytest
import tifffile
import zarr
from funlib.geometry import Roi

from dacapo.blockwise.journal.identity import array_identity
from dacapo.errors import ArrayNotFoundError, ConfigError, StorageError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArrayConfig, open_array, read_all, remote, remote_file
from dacapo.experiments.datasplits.datasets.arrays.listing import arrays_in
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.converter import from_plain, to_plain
from tests.helpers.arrays import build
from tests.helpers.formats import FORMATS, OFFSET
from tests.helpers.servers import CREDENTIALS, RangeHandler, file_server, s3_server, upload

VALUES = np.random.default_rng(0).integers(1, 250, (6, 7, 9)).astype(np.uint8)


@pytest.fixture
def served(tmp_path: Path) -> Any:
    FORMATS["zarr2"](tmp_path, "raw", VALUES)
    FORMATS["precomputed"](tmp_path, "pre", VALUES)
    FORMATS["multiscale"](tmp_path, "em", VALUES)
    with file_server(tmp_path) as (address, handler):
        yield address, handler


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less before requests are repeated."""
    retries = {"max_retries": 3, "initial_delay": "10ms", "max_delay": "20ms"}
    settings = {f"{kind}_request_retries": retries for kind in ("s3", "gcs", "http")}
    monkeypatch.setattr(remote, "CONTEXT", settings)
    remote._context.cache_clear()


@pytest.mark.usefixtures("quick")
def test_formats_over_http(served: Any) -> None:
    address, _ = served
    for path, dataset, level in (
        ("a.zarr", "raw", None),
        ("a.zarr/raw", None, None),
        ("pre", None, None),
        ("pre", "s0", None),
        ("b.zarr", "em", "0"),
    ):
        select = {"t": 0, "c": 0} if level else None
        array = open_array(f"{address}/{path}", dataset, level=level, select=select)
        assert array.roi.offset == OFFSET
        np.testing.assert_array_equal(array[array.roi], VALUES)
        assert not array.writable


def test_a_url_in_a_config_is_kept(tmp_path: Path) -> None:
    for given in ("s3://bucket/a.zarr", Path("s3://bucket/a.zarr")):
        config = ZarrArrayConfig("a", given, "raw")
        assert remote.kvstore_spec(config.file_name)["bucket"] == "bucket"
        assert from_plain(to_plain(config), ZarrArrayConfig) == config
        assert LocalArrayIdentifier(given, "raw").container == config.file_name


def test_a_config_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FORMATS["zarr2"](tmp_path, "raw", VALUES)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert build(ZarrArrayConfig("a", "~/a.zarr", "raw")).roi.offset == OFFSET
    assert LocalArrayIdentifier("~/a.zarr", "raw").container == tmp_path / "a.zarr"


@pytest.mark.usefixtures("quick")
def test_a_server_that_is_busy_is_asked_again(served: Any) -> None:
    address, handler = served
    handler.failures = 2
    array = open_array(f"{address}/a.zarr", "raw")
    handler.failures = 2
    np.testing.assert_array_equal(array[array.roi], VALUES)
    handler.failures = 100
    with pytest.raises(StorageError, match=rf"cannot read {address}/a\.zarr/raw/\.zarray: .*503"):
        open_array(f"{address}/a.zarr", "raw")
    with pytest.raises(StorageError, match=rf"{address}/a\.zarr/raw.*cannot read roi .*503"):
        array[array.roi]


@pytest.mark.usefixtures("quick")
def test_a_server_that_is_not_there() -> None:
    with pytest.raises(StorageError, match=r"cannot read http://127\.0\.0\.1:9/a\.zarr/raw/\.zarray: .*[Cc]onnect"):
        open_array("http://127.0.0.1:9/a.zarr", "raw")


def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(remote, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(StorageError, match=rf"http://127\.0\.0\.1:{port}/.*: no answer within 0\.3 s"):
            open_array(f"http://127.0.0.1:{port}/a.zarr", "raw")


def test_what_does_not_exist_at_a_url(served: Any) -> None:
    address, _ = served
    with pytest.raises(ArrayNotFoundError, match=rf"no array is at {address}/a\.zarr/em .*cannot be listed"):
        open_array(f"{address}/a.zarr", "em")
    with pytest.raises(ConfigError, match=rf"{address}/a\.zarr cannot be listed; name the dataset"):
        open_array(f"{address}/a.zarr")
    with pytest.raises(StorageError, match=r"a\.tif does not exist"):
        open_array(f"{address}/a.tif")


def test_an_image_at_a_url_lists_its_levels(served: Any) -> None:
    address, _ = served
    assert arrays_in(f"{address}/b.zarr", "em")[1] == ["em/0", "em/1"]
    with pytest.raises(ArrayNotFoundError, match=rf"{address}/b\.zarr/em has the levels 0, 1, but not '2'"):
        open_array(f"{address}/b.zarr", "em", level="2")


def test_consolidated_metadata_lists_what_there_is(served: Any, tmp_path: Path) -> None:
    address, _ = served
    zarr.open_group(str(tmp_path / "a.zarr"), mode="a").create_dataset("labels", data=VALUES)
    zarr.consolidate_metadata(str(tmp_path / "a.zarr"))
    with pytest.raises(ArrayNotFoundError, match=rf"{address}/a\.zarr holds labels, raw"):
        open_array(f"{address}/a.zarr", "em")


def test_chunks_at_a_url_are_requested_once(served: Any) -> None:
    address, handler = served
    array = open_array(f"{address}/a.zarr", "raw")
    handler.requests.clear()
    for _ in range(3):
        (values,) = read_all([(array, array.roi)])
        np.testing.assert_array_equal(values, VALUES)
    asked = [request for request in handler.requests if request.endswith("/0/0/0")]
    assert len(asked) == 1


def test_credentials_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (*CREDENTIALS, "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    place = Path("s3://bucket/deep/a.zarr")
    anonymous = {"driver": "s3", "bucket": "bucket", "path": "deep/a.zarr/", "aws_credentials": {"type": "anonymous"}}
    assert remote.kvstore_spec(place) == anonymous
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert remote.kvstore_spec(place)["aws_credentials"] == {"type": "default"}
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    spec = remote.kvstore_spec(place)
    assert (spec["aws_credentials"], spec["aws_region"]) == ({"type": "environment"}, "eu-west-1")
    assert "secret" not in str(spec)


@pytest.mark.usefixtures("quick")
def test_a_bucket_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises((ArrayNotFoundError, StorageError), match=r"s3://missing/a\.zarr/raw"):
            open_array("s3://missing/a.zarr", "raw")


def test_arrays_in_memory_of_fsspec(tmp_path: Path) -> None:
    FORMATS["zarr2"](tmp_path, "raw", VALUES)
    fsspec.filesystem("memory").put(str(tmp_path / "a.zarr"), "/unit/a.zarr", recursive=True)
    array = open_array("memory://unit/a.zarr")
    np.testing.assert_array_equal(array[array.roi], VALUES)
    (values,) = read_all([(array, array.roi)])
    np.testing.assert_array_equal(values, VALUES)
    with pytest.raises(ArrayNotFoundError, match=r"memory://unit/a\.zarr holds raw"):
        open_array("memory://unit/a.zarr", "em")


LARGE = np.random.default_rng(1).integers(0, 255, (40, 300, 300)).astype(np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a volume as HDF5 and TIFF, of several megabytes, and an image."""
    folder = tmp_path_factory.mktemp("files")
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("volumes/raw", data=LARGE, chunks=(10, 64, 64), compression="gzip")
        file["volumes/raw"].attrs.update({"resolution": [40, 4, 4], "axes": ["z", "y", "x"], "units": ["nm"] * 3})
    tifffile.imwrite(folder / "plain.tif", LARGE)
    tifffile.imwrite(folder / "packed.tif", LARGE, compression="zlib")
    imageio.v3.imwrite(folder / "plane.png", LARGE[0])
    return folder


def check_files(address: str) -> None:
    array = open_array(f"{address}/a.h5")
    assert (array.voxel_size, set(array.units)) == ((40, 4, 4), {"nm"})
    part = Roi((400, 40, 40), (400, 400, 400))
    np.testing.assert_array_equal(array[part], LARGE[10:20, 10:110, 10:110])
    np.testing.assert_array_equal(open_array(f"{address}/a.h5/volumes/raw")[part], array[part])
    assert arrays_in(f"{address}/a.h5") == (Path(f"{address}/a.h5"), ["volumes/raw"])
    for name in ("plain.tif", "packed.tif"):
        array = open_array(f"{address}/{name}", axes=["z", "y", "x"])
        np.testing.assert_array_equal(array[array.roi], LARGE)
    array = open_array(f"{address}/plane.png")
    np.testing.assert_array_equal(array[array.roi], LARGE[0])
    for name in ("none.h5", "none.tif", "none.png"):
        with pytest.raises((ArrayNotFoundError, StorageError), match=rf"{address}/{name} does not exist"):
            open_array(f"{address}/{name}")


@pytest.mark.usefixtures("quick")
def test_files_over_http(files: Path) -> None:
    with file_server(files, RangeHandler) as (address, handler):
        check_files(address)
        sizes = [(files / name).stat().st_size for name in ("a.h5", "plain.tif", "packed.tif", "plane.png")]
        sent = sum(int(end) - int(begin) for begin, end in re.findall(r" (\d+)-(\d+)", "\n".join(handler.requests)))
        assert sent < 1.5 * sum(sizes)  # each block once


@pytest.mark.usefixtures("quick")
def test_files_in_s3(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as address:
        upload(files, f"{address}/bucket/deep")
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        check_files("s3://bucket/deep")


def test_files_in_memory_of_fsspec(files: Path) -> None:
    fsspec.filesystem("memory").put(str(files), "/files", recursive=True)
    check_files("memory://files")


@pytest.mark.usefixtures("quick")
def test_a_server_that_sends_only_whole_files(files: Path) -> None:
    with file_server(files) as (address, _), pytest.raises(StorageError, match="sends only whole files; download it"):
        open_array(f"{address}/plain.tif")


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 3 * 2**20 + 17])
def test_the_size_of_a_remote_file(size: int, tmp_path: Path) -> None:
    content = np.random.default_rng(size).bytes(size)
    (tmp_path / "file.bin").write_bytes(content)
    with file_server(tmp_path, RangeHandler) as (address, _):
        if size == 0:
            with pytest.raises(StorageError, match="is empty"):
                remote_file.RemoteFile(Path(f"{address}/file.bin"))
            return
        file = remote_file.RemoteFile(Path(f"{address}/file.bin"))
        assert (file.size, file.seek(0, 2), file.read(1)) == (size, size, b"")
        file.seek(size // 3)
        assert file.readall() == content[size // 3 :]


@pytest.mark.usefixtures("quick")
def test_a_changed_file_at_a_url_is_noticed(files: Path, tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes((files / "a.h5").read_bytes())
    with file_server(tmp_path, RangeHandler) as (address, _):
        place = LocalArrayIdentifier(Path(f"{address}/a.h5"), "volumes/raw")
        before = array_identity(place)
        assert before == array_identity(place)
        (tmp_path / "a.h5").write_bytes((files / "a.h5").read_bytes() + b"\0")
        assert before != array_identity(place)
