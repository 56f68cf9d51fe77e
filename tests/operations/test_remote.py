"""Data at URLs trains, predicts and is segmented with the same result as on a disk."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import fsspec
import numpy as np
import pytest

from dacapo.experiments.datasplits.datasets.arrays import ArrayConfig, config_for
from dacapo.experiments.datasplits.datasets.arrays.opener import identifier_of
from dacapo.options import DaCapoConfig
from tests.helpers.format_runs import assert_same, results
from tests.helpers.formats import FORMATS, Writer
from tests.helpers.servers import CREDENTIALS, CloudStorageHandler, RangeHandler, file_server, s3_server, upload

numbers = itertools.count()
Placed = Callable[[Path], str]
"""Takes a folder to where a server has it, and returns its URL."""


@pytest.fixture(scope="module")
def on_disk() -> dict[str, Any]:
    """Results on data on a disk, made by the first test that needs them."""
    return {}


@pytest.fixture(params=["s3", "http", "gs", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Placed]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    served = tmp_path / "served"
    served.mkdir()

    def move(folder: Path) -> str:
        return folder.rename(served / f"{folder.name}{next(numbers)}").name

    def to_memory(folder: Path) -> str:
        name = f"test{next(numbers)}"
        fsspec.filesystem("memory").put(str(folder), f"/{name}", recursive=True)
        return f"memory://{name}"

    if request.param == "s3":
        with s3_server() as address:
            monkeypatch.setenv("AWS_ENDPOINT_URL", address)

            def to_s3(folder: Path) -> str:
                name = f"data/{next(numbers)}"
                upload(folder, f"{address}/bucket/{name}")
                return f"s3://bucket/{name}"

            yield to_s3
    elif request.param == "http":
        with file_server(served, RangeHandler) as (address, _):
            yield lambda folder: f"{address}/{move(folder)}"
    elif request.param == "gs":
        with file_server(served, CloudStorageHandler) as (address, _):
            monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", address)
            yield lambda folder: f"gs://bucket/{move(folder)}"
    else:
        yield to_memory


def writer(place: Placed, file_format: str = "zarr2") -> Writer:
    """Return a writer of arrays that lie at a URL."""

    def write(folder: Path, name: str, values: np.ndarray) -> ArrayConfig:
        local = folder / name
        written = FORMATS[file_format](local, name, values)
        if file_format == "zarr2":
            return config_for(place(local / "a.zarr"), name)
        file = identifier_of(written).container.name
        return attrs.evolve(written, file_name=f"{place(local)}/{file}")

    return write


def test_data_at_a_url_trains_validates_predicts_and_is_segmented(
    options: DaCapoConfig, tmp_path: Path, on_disk: dict[str, Any], place: Placed
) -> None:
    if not on_disk:
        on_disk.update(results("disk", FORMATS["zarr2"], tmp_path / "disk", by_path=True))
    assert_same(results("remote", writer(place), tmp_path / "remote", by_path=True), on_disk)


@pytest.mark.parametrize(("place", "file_format"), [("http", "ome_tiff"), ("s3", "hdf5")], indirect=["place"])
def test_files_at_a_url_do_so_too(
    options: DaCapoConfig, tmp_path: Path, on_disk: dict[str, Any], place: Placed, file_format: str
) -> None:
    if not on_disk:
        on_disk.update(results("disk", FORMATS["zarr2"], tmp_path / "disk", by_path=True))
    assert_same(results("remote", writer(place, file_format), tmp_path / "remote", file_format == "hdf5"), on_disk)
