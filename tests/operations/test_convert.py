"""Arrays are converted between all formats, in blocks, and described."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorstore
import tifffile
from click.testing import CliRunner
from funlib.geometry import Coordinate, Roi

from dacapo.cli import cli
from dacapo.convert import FORMATS, convert
from dacapo.errors import ArrayNotFoundError, BlockwiseError, ConfigError, OutputExistsError, RoiError
from dacapo.experiments.datasplits.datasets.arrays import Array, open_array
from dacapo.info import info
from tests.helpers.volumes import OFFSET, VOXEL_SIZE, write_array
from tests.helpers.zarr_files import write_zarr2

SHAPE = (70, 130, 40)
NAMES = {
    **{"zarr2": "out.zarr", "zarr3": "out.zarr", "n5": "out.n5", "tiff": "out.tif", "hdf5": "out.h5"},
    **{"precomputed": "out", "png": "images", "tiff-planes": "images"},
}
PLACED = [name for name in FORMATS if NAMES[name] != "images"]
"""Formats that keep voxel size and offset."""


def values(shape: tuple[int, ...] = SHAPE, dtype: Any = np.uint16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return stored(tmp_path)


def stored(folder: Path, data: np.ndarray | None = None, name: str = "raw", **place: Any) -> Path:
    write_array(folder / "in.zarr", name, values() if data is None else data, **place)
    return folder / "in.zarr" / name


def describe(array: Array) -> tuple[Any, ...]:
    return array.axes, array.spacing, array.world.in_units(array.roi.offset), list(array.world.shown), array.dtype


@pytest.mark.parametrize("file_format", PLACED)
def test_values_and_place_are_kept(file_format: str, tmp_path: Path, source: Path) -> None:
    written = convert(source, tmp_path / NAMES[file_format], file_format=file_format)
    array, original = open_array(written.container, written.dataset or None), open_array(source)
    np.testing.assert_array_equal(array[array.roi], values())
    assert describe(array) == describe(original)


@pytest.mark.parametrize("file_format", PLACED)
def test_channels_come_first(file_format: str, tmp_path: Path) -> None:
    data = values((3, 10, 12, 14), np.float32)
    source = stored(tmp_path, data)
    written = convert(source, tmp_path / NAMES[file_format], file_format=file_format)
    array = open_array(written.container, written.dataset or None)
    assert array.axes == ["c", "z", "y", "x"]
    np.testing.assert_array_equal(array[array.roi], data)


@pytest.mark.parametrize("file_format", PLACED)
@pytest.mark.parametrize("unit", ["um", "nm", "angstrom"])
def test_lengths_are_true_in_the_unit_of_the_input(file_format: str, unit: str, tmp_path: Path) -> None:
    source = tmp_path / "in.zarr"
    place = {"axes": ["z", "y", "x"], "voxel_size": [0.5, 0.25, 0.25], "offset": [1, 0.5, 1.5], "units": [unit] * 3}
    write_zarr2(source, "raw", values((6, 7, 8), np.uint8), place)
    written = convert(source, tmp_path / NAMES[file_format], "raw", file_format=file_format)
    array = open_array(written.container, "s0" if file_format == "precomputed" else written.dataset or None)
    original = open_array(source, "raw")
    assert array.world.in_nanometers(array.voxel_size) == original.world.in_nanometers(original.voxel_size)
    assert array.world.in_nanometers(array.roi.offset) == original.world.in_nanometers(original.roi.offset)
    if file_format != "precomputed":  # which is in nanometers
        assert array.world.shown == original.world.shown
        assert array.world.in_shown(array.voxel_size) == [Fraction(1, 2), Fraction(1, 4), Fraction(1, 4)]


@pytest.mark.parametrize("file_format", sorted({*PLACED} - {"precomputed"}))
def test_planes(file_format: str, tmp_path: Path) -> None:
    data = values((50, 60), bool)
    source = stored(tmp_path, data, voxel_size=Coordinate(4, 4), offset=Coordinate(0, 8))
    written = convert(source, tmp_path / NAMES[file_format], file_format=file_format)
    array = open_array(written.container, written.dataset or None)
    np.testing.assert_array_equal(array[array.roi], data)


@pytest.mark.parametrize("file_format", PLACED)
@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_interrupted_conversion_is_resumed(file_format: str, num_workers: int, tmp_path: Path, source: Path) -> None:
    chunk = source / "0" / "2" / "0"
    whole, target = chunk.read_bytes(), tmp_path / NAMES[file_format]
    chunk.write_bytes(whole[:50])
    with pytest.raises(BlockwiseError, match=r"0/2/0 is damaged"):
        convert(source, target, file_format=file_format, num_workers=num_workers)
    if file_format not in ("zarr2", "zarr3"):
        assert not (target / "raw").exists()
        assert not target.is_file()
    chunk.write_bytes(whole)
    other = source / "0" / "0" / "0"  # read in the first call only
    other.write_bytes(b"damaged")
    written = convert(source, target, file_format=file_format, num_workers=num_workers)
    array = open_array(written.container, written.dataset or None)
    np.testing.assert_array_equal(array[array.roi], values())


def test_a_finished_conversion_is_kept(tmp_path: Path, source: Path) -> None:
    for file_format in FORMATS:
        folder = tmp_path / file_format
        target = folder / NAMES[file_format]
        written = convert(source, target, file_format=file_format)
        path = written.container / written.dataset if file_format not in ("tiff", "hdf5") else target
        made = path.stat().st_mtime_ns
        convert(source, target, file_format=file_format)
        assert path.stat().st_mtime_ns == made
        convert(source, target, file_format=file_format, overwrite=True)
        array = open_array(written.container, written.dataset or None)
        np.testing.assert_array_equal(array[array.roi], values())


def test_foreign_files_are_kept(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "mine.tif"
    tifffile.imwrite(target, np.zeros((4, 4), np.uint8))
    with pytest.raises(OutputExistsError, match=r"mine\.tif exists"):
        convert(source, target)
    assert tifffile.imread(target).shape == (4, 4)


def test_a_deleted_output_is_made_again(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "out.tif"
    convert(source, target)
    target.unlink()
    convert(source, target)
    np.testing.assert_array_equal(tifffile.imread(target), values())


def test_other_programs_read_the_files(tmp_path: Path, source: Path) -> None:
    convert(source, tmp_path / "out.h5", output_dataset="volumes/raw")
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["volumes/raw"][...], values())
        (described,) = info(tmp_path / "out.h5").arrays
        assert described.chunks == list(file["volumes/raw"].chunks)
    convert(source, tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert tiff.is_ome
        assert tiff.series[0].axes == "ZYX"
        assert 'PhysicalSizeZ="8.0"' in (tiff.ome_metadata or "")
        assert 'PhysicalSizeZUnit="nm"' in (tiff.ome_metadata or "")
    convert(source, tmp_path / "out.n5")
    assert "n5" in json.loads((tmp_path / "out.n5" / "attributes.json").read_text())
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{tmp_path}/out.n5/raw/"}}
    opened = tensorstore.open(spec).result()
    np.testing.assert_array_equal(opened.read().result().T, values())
    assert [unit.multiplier for unit in opened.dimension_units] == [4, 4, 8]


def test_zarr3_is_an_image(tmp_path: Path, source: Path) -> None:
    convert(source, tmp_path / "out.zarr" / "volumes", file_format="zarr3", output_dataset="raw")
    root, group = (json.loads((tmp_path / "out.zarr" / name / "zarr.json").read_text()) for name in ("", "volumes"))
    assert root["node_type"] == group["node_type"] == "group"
    ome = group["attributes"]["ome"]
    assert ome["version"] == "0.5"
    (image,) = ome["multiscales"]
    assert [axis["unit"] for axis in image["axes"]] == ["nanometer"] * 3
    (level,) = image["datasets"]
    assert level["path"] == "raw"
    scale, translation = level["coordinateTransformations"]
    assert scale == {"type": "scale", "scale": [float(v) for v in VOXEL_SIZE]}
    assert translation == {"type": "translation", "translation": [float(v) for v in OFFSET]}


def test_labels_of_zarr2_have_levels_with_the_most_frequent_one(tmp_path: Path) -> None:
    data = np.kron(np.arange(1, 301, dtype=np.uint32), np.ones((20, 2), np.uint32))
    source = stored(tmp_path, data, "labels", voxel_size=Coordinate(4, 4), offset=Coordinate(0, 0))
    convert(source, tmp_path / "out.zarr")
    described = info(tmp_path / "out.zarr")
    assert described.levels == {"": ["labels", "labels_s1", "labels_s2"]}
    half = open_array(tmp_path / "out.zarr", "labels_s1")
    assert set(np.unique(half[half.roi])) == set(range(1, 301))


def test_an_existing_container_keeps_its_format(tmp_path: Path, source: Path) -> None:
    convert(source, tmp_path / "out.zarr" / "first", file_format="zarr3")
    convert(source, tmp_path / "out.zarr" / "second")
    assert [array.format for array in info(tmp_path / "out.zarr").arrays] == ["zarr3", "zarr3"]
    with pytest.raises(ConfigError, match=r"out\.zarr exists and is Zarr v3"):
        convert(source, tmp_path / "out.zarr" / "third", file_format="zarr2")


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("out", {}, "the format of .*out is unknown; give the name an end such as .h5"),
        ("out.tif", {"output_dataset": "raw"}, r"out\.tif holds a single array \(tiff\)"),
        ("out.bmp", {"file_format": "bmp"}, "the format of .* is bmp; "),
    ],
)
def test_mistakes_are_told(target: str, options: dict[str, Any], message: str, tmp_path: Path, source: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(source, tmp_path / target, **options)
    with pytest.raises(ArrayNotFoundError, match=r"gone\.zarr"):
        convert(tmp_path / "gone.zarr", tmp_path / "out.zarr")


def test_commands(tmp_path: Path, source: Path) -> None:
    result = CliRunner().invoke(cli, ["convert", str(source), str(tmp_path / "out.n5"), "-od", "volumes/em"])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == f"{tmp_path}/out.n5/volumes/em"
    table = CliRunner().invoke(cli, ["info", str(tmp_path / "out.n5")])
    assert table.stdout.splitlines()[1].split()[:4] == ["dataset", "format", "axes", "shape"]
    row = "volumes/em n5 z y x 70 130 40 64 64 40 uint16 8 4 4 80 40 40 nm"
    assert table.stdout.splitlines()[2].split() == row.split()
    found = json.loads(CliRunner().invoke(cli, ["info", "--json", str(tmp_path / "out.n5" / "volumes")]).stdout)
    assert found["arrays"][0]["voxel_size"] == [8, 4, 4]
    wrong = CliRunner().invoke(cli, ["info", str(tmp_path / "gone.zarr")])
    assert wrong.exit_code == 1
    assert "gone.zarr does not exist" in wrong.stderr


def test_info_tells_assumptions_and_problems(tmp_path: Path, source: Path) -> None:
    (source / ".zattrs").write_text("{}")
    broken = stored(tmp_path, name="broken")
    (broken / ".zattrs").write_text(json.dumps({"axes": ["z"]}))
    text = str(info(tmp_path / "in.zarr"))
    assert "note: " in text
    assert "no voxel size in its attributes; assumed 1 along each axis" in text
    assert "cannot open broken: " in text


def test_info_lists_a_file_of_several_arrays(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "several.h5", "w") as file:
        for name in ("a/raw", "a/labels", "b"):
            file.create_dataset(name, data=np.zeros((4, 4), np.uint8))
    assert [array.dataset for array in info(tmp_path / "several.h5").arrays] == ["a/labels", "a/raw", "b"]
    assert [array.dataset for array in info(tmp_path / "several.h5", "a").arrays] == ["a/labels", "a/raw"]
    tifffile.imwrite(tmp_path / "one.tif", np.zeros((4, 5), np.uint8))
    assert [array.shape for array in info(tmp_path / "one.tif").arrays] == [[4, 5]]


def test_a_url_is_read_and_not_written(tmp_path: Path, source: Path) -> None:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/in.zarr/raw"
        described = info(url)
        assert [array.dataset for array in described.arrays] == ["raw"]
        assert str(described).startswith(f"http://127.0.0.1:{server.server_port}/in.zarr\n")
        written = convert(url, tmp_path / "out.n5")
        with pytest.raises(ConfigError, match=r"cannot write to http://.*/out\.zarr"):
            convert(url, f"{url.removesuffix('in.zarr/raw')}out.zarr")
        server.shutdown()
    array = open_array(written.container, written.dataset)
    np.testing.assert_array_equal(array[array.roi], values())


def test_a_region_of_one_level_and_point_in_time(tmp_path: Path) -> None:
    data = values((2, 1, 20, 64, 64), np.uint8)
    pyramid = tmp_path / "movie.zarr"
    _write_movie(pyramid, [data, data[..., ::2, ::2, ::2]])
    written = convert(
        pyramid, tmp_path / "out.zarr", level="1", select={"t": 1, "c": 0}, roi="[8:16,0:64,64:128]", num_workers=1
    )
    array = open_array(written.container, written.dataset)
    assert (array.axes, array.roi) == (["z", "y", "x"], Roi((8, 0, 64), (8, 64, 64)))
    np.testing.assert_array_equal(array[array.roi], data[1, 0, ::2, ::2, ::2][2:4, :16, 16:32])
    with pytest.raises(RoiError, match="not inside"):
        convert(pyramid, tmp_path / "no.zarr", level="1", select={"t": 1, "c": 0}, roi="[0:400,0:8,0:8]")


def _write_movie(path: Path, levels: list[np.ndarray]) -> None:
    """Write an OME-NGFF image with the axes TCZYX."""
    datasets = []
    for number, data in enumerate(levels):
        write_zarr2(path, str(number), data, {})
        scale = [1, 1, *[2 * 2**number] * 3]
        datasets.append({"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    axes = [{"name": name, "type": {"t": "time", "c": "channel"}.get(name, "space")} for name in "tczyx"]
    for axis in axes[2:]:
        axis["unit"] = "nanometer"
    multiscales = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    (path / ".zattrs").write_text(json.dumps({"multiscales": multiscales}))


def test_metadata_of_the_input_can_be_replaced(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", values((5, 6, 7)))
    command = ["convert", str(tmp_path / "in.tif"), str(tmp_path / "out.zarr")]
    options = ["--voxel-size", "40,5.5,5.5", "--offset", "[80,0,11]", "--axes", "zyx", "--unit", "nm"]
    done = CliRunner().invoke(cli, [*command, *options, "--roi", "[120nm:200nm,0nm:33nm,11nm:33nm]"])
    assert done.exit_code == 0, done.output
    array = open_array(tmp_path / "out.zarr")
    assert (list(array.spacing), array.world.in_units(array.roi.offset)) == ([40, 5.5, 5.5], (120, 0, 11))
    np.testing.assert_array_equal(array[array.roi], values((5, 6, 7))[1:3, :6, :4])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--voxel-size", "a,b"], "no list of numbers; write for example"),
        (["--select", "t"], "write for example t=0"),
    ],
)
def test_options_that_cannot_be_parsed(option: list[str], message: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["convert", str(tmp_path), str(tmp_path / "out.zarr"), *option])
    assert done.exit_code == 2
    assert message in done.output


def test_precomputed_has_levels_that_others_read(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(300 * 20, dtype=np.uint64).reshape(20, 300, 1), 600, axis=2)
    source = stored(tmp_path, labels, voxel_size=Coordinate(20, 5, 5), offset=Coordinate(40, 20, 60))
    written = convert(source, tmp_path / "seg.precomputed", num_workers=2)
    described = json.loads((written.container / "info").read_text())
    assert described["type"] == "segmentation"
    assert [scale["resolution"] for scale in described["scales"]] == [[5, 5, 20], [10, 10, 20], [20, 20, 20]]
    for level, step in enumerate((1, 2, 4)):
        opened = tensorstore.open(
            {
                "driver": "neuroglancer_precomputed",
                "kvstore": {"driver": "file", "path": f"{written.container}/"},
                "scale_index": level,
            }
        ).result()
        array = open_array(written.container, f"s{level}")
        got = opened[..., 0].read().result().T
        np.testing.assert_array_equal(got, array[array.roi])
        assert got.shape == (20, 300 // step, 600 // step)
        assert set(np.unique(got)) <= set(range(300 * 20))
        assert array.roi.offset == Coordinate(40, 20, 60)


def test_levels_of_precomputed_can_be_left_out(tmp_path: Path) -> None:
    source = stored(tmp_path, np.ones((4, 300, 4), np.uint8), offset=Coordinate(0, 0, 0))
    convert(source, tmp_path / "out", file_format="precomputed", pyramid=False)
    assert len(json.loads((tmp_path / "out" / "info").read_text())["scales"]) == 1


def test_precomputed_has_the_levels_that_begin_at_whole_voxels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = stored(tmp_path, values((4, 300, 300)), voxel_size=Coordinate(4, 4, 4), offset=Coordinate(0, 4, 0))
    written = convert(source, tmp_path / "out", file_format="precomputed")
    assert len(json.loads((written.container / "info").read_text())["scales"]) == 1
    assert "no level with voxels of (8, 8, 8)" in caplog.text


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        (values((4, 5, 6), np.float64), {}, "hold uint8, .*, not float64"),
        (values((5, 6)), {"voxel_size": Coordinate(4, 4), "offset": Coordinate(0, 0)}, "axes z, y, x"),
        (values((4, 5, 6)), {"offset": Coordinate(81, 40, 40)}, "no multiple of the voxel size"),
    ],
)
def test_what_precomputed_cannot_hold(data: np.ndarray, place: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(stored(tmp_path, data, **place), tmp_path / "out", file_format="precomputed")
    assert not (tmp_path / "out").exists()


def test_what_images_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="uint8 or uint16, not uint64"):
        convert(stored(tmp_path, values((4, 5, 6), np.uint64)), tmp_path / "out", file_format="png")
    source = stored(tmp_path, values((2, 4, 5, 6)), "several")
    with pytest.raises(ConfigError, match="planes of y and x along z"):
        convert(source, tmp_path / "out", file_format="tiff-planes")
    convert(source, tmp_path / "out", file_format="tiff-planes", select={"c": 1})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"000{number}.tif" for number in range(4)]
