"""Arrays in TIFF files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ArrayNotFoundError, MetadataError, StorageError
from dacapo.experiments.datasplits.datasets.arrays import (
    ArrayConfig,
    ImageStackArrayConfig,
    IntensitiesArrayConfig,
    tiff_array,
    tiff_file,
)
from dacapo.experiments.datasplits.datasets.arrays.tiff_array import TiffArray, TiffArrayConfig

VALUES = np.random.default_rng(0).integers(0, 60000, (5, 6, 7)).astype(np.uint16)


def config(path: Path, **kwargs: Any) -> TiffArrayConfig:
    fields: dict[str, Any] = {"offset": (8, 0, 4), "voxel_size": (8, 4, 4), "axes": ["z", "y", "x"], **kwargs}
    return TiffArrayConfig("tiff", path, **fields)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_reads_a_part(tmp_path: Path, compression: str | None) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES, compression=compression, photometric="minisblack")
    array = TiffArray(config(tmp_path / "a.tif"))
    assert array.roi == Roi((8, 0, 4), (40, 24, 28))
    assert array.shape == Coordinate(5, 6, 7)
    assert array.spatial_axes == ["z", "y", "x"]
    assert array.num_channels is None
    np.testing.assert_array_equal(array[Roi((16, 4, 8), (16, 8, 4))], VALUES[1:3, 1:3, 1:2])


def test_an_uncompressed_file_is_not_read_whole(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES, photometric="minisblack")
    assert isinstance(TiffArray(config(tmp_path / "a.tif")).data, np.memmap)


def test_channels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES, photometric="minisblack")
    array = TiffArray(config(tmp_path / "a.tif", axes=["c", "y", "x"], offset=(0, 0), voxel_size=(4, 4)))
    assert array.num_channels == 5
    assert array.shape == Coordinate(6, 7)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArrayNotFoundError, match=r"a\.tif does not exist"):
        TiffArray(config(tmp_path / "a.tif"))
    works, why = config(tmp_path / "a.tif").verify()
    assert works is False
    assert why.startswith("file_name: ")
    around = IntensitiesArrayConfig("i", config(tmp_path / "a.tif"), 0, 255)
    assert around.verify() == (False, f"source_array_config.{why}")


def test_a_file_that_is_no_tiff(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("no image")
    with pytest.raises(StorageError, match="as TIFF"):
        TiffArray(config(tmp_path / "a.tif"))


def test_a_damaged_file(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES, compression="zlib", photometric="minisblack")
    array = TiffArray(config(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        position = file.pages[0].dataoffsets[0]
    with (tmp_path / "a.tif").open("r+b") as raw:
        raw.seek(position)
        raw.write(b"damaged")
    with pytest.raises(StorageError, match="cannot be read"):
        array[array.roi]


def in_a_circle(path: Path, pages: int, back_to: int) -> Path:
    """Write a file whose last page is followed by an earlier one."""
    with tifffile.TiffWriter(path) as writer:
        for _ in range(pages):
            writer.write(VALUES[0], contiguous=False, metadata=None, compression="zlib")
    with tifffile.TiffFile(path) as file:
        places, end = [page.offset for page in file.pages], file.pages.next_page_offset
    with path.open("r+b") as raw:
        raw.seek(end)
        raw.write(struct.pack("<I", places[back_to]))
    return path


@pytest.mark.parametrize(("pages", "back_to"), [(1, 0), (2, 0), (5, 3), (150, 120)])
@pytest.mark.parametrize("name", ["one file", "planes"])
def test_pages_in_a_circle_are_refused_after_one_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: int, back_to: int, name: str
) -> None:
    path = in_a_circle(tmp_path / "a.tif", pages, back_to)
    reads = iter(range(10 * pages + 1000))
    read = tifffile.FileHandle.read

    def counted(*how: Any) -> bytes:
        if next(reads, None) is None:
            pytest.fail("the circle is read over and over")
        return bytes(read(*how))

    monkeypatch.setattr(tifffile.FileHandle, "read", counted)
    wrong: ArrayConfig = config(path) if name == "one file" else ImageStackArrayConfig("planes", tmp_path)
    with pytest.raises(StorageError, match=f"a.tif as TIFF: its {pages} pages form a circle: one leads back"):
        wrong.array_type(wrong)


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The files whose chains of pages were walked since."""
    walked: list[Any] = []
    walk = tiff_file._check_chain

    def noted(file: Any) -> None:
        walked.append(file.filename)
        walk(file)

    monkeypatch.setattr(tiff_file, "_check_chain", noted)
    return walked


def test_the_chain_of_a_file_is_walked_once(tmp_path: Path, walks: list[Any]) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VALUES, compression="zlib", photometric="minisblack")
    for _ in range(2):
        array = config(path).array_type(config(path))
        config(path).stated_metadata()
        array[array.roi]
    assert walks == ["a.tif"]
    in_a_circle(path, 5, 3)
    with pytest.raises(StorageError, match="form a circle"):
        TiffArray(config(path))
    with pytest.raises(StorageError, match="form a circle"):
        TiffArray(config(path))
    assert walks == ["a.tif"] * 3, "another version, which is not remembered because it is wrong"


def test_few_files_are_remembered(tmp_path: Path, walks: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_file, "_checked", set())
    monkeypatch.setattr(tiff_file, "_MOST_CHECKED", 3)
    for name in "abcdea":
        tifffile.imwrite(tmp_path / name, VALUES[0])
        with tiff_file.opened_tiff(tmp_path / name):
            pass
    assert len(tiff_file._checked) <= 3
    assert walks == list("abcdea")


def test_a_file_of_many_pages(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for number in range(250):
            writer.write(VALUES[number % 5], contiguous=False, metadata=None, compression="zlib")
    array = TiffArray(config(tmp_path / "a.tif"))
    assert array.shape == Coordinate(250, 6, 7)
    np.testing.assert_array_equal(array[array.roi], np.tile(VALUES, (50, 1, 1)))


@pytest.mark.parametrize(
    "fields",
    [
        {"axes": ["y", "x"]},
        {"axes": ["z", "z", "x"]},
        {"offset": (0, 0)},
        {"voxel_size": (1, 1)},
        {"voxel_size": (0, 4, 4)},
    ],
)
def test_refuses_what_does_not_fit(tmp_path: Path, fields: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES, photometric="minisblack")
    with pytest.raises(MetadataError):
        TiffArray(config(tmp_path / "a.tif", **fields))


def test_the_old_name_stays_in_its_module() -> None:
    assert tiff_array.ZarrArrayConfig is TiffArrayConfig
