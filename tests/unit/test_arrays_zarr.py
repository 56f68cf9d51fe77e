"""Arrays on disk: creating, finding, opening and placing them."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import tensorstore
import zarr
from funlib.geometry import Coordinate, Roi

from dacapo.errors import (
    ArrayNotFoundError,
    ConfigError,
    DtypeError,
    MetadataError,
    MetadataWarning,
    OutputExistsError,
    RoiError,
    StorageError,
    UnsafeFileError,
)
from dacapo.experiments.datasplits.datasets.arrays import CropArrayConfig, ZarrArray, ZarrArrayConfig
from dacapo.experiments.datasplits.datasets.arrays.chunk_shapes import MAX_CHUNK_BYTES, chunk_shape
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.zarr_files import write_zarr2

ROI = Roi((8, 16, 24), (80, 160, 240))
SIZE = Coordinate(8, 8, 8)
PLACED = {"axes": ["z", "y", "x"], "resolution": [8, 8, 8], "offset": [8, 16, 24], "units": ["nm"] * 3}


def create(path: Path, dataset: str = "raw", **kwargs: Any) -> ZarrArray:
    arguments: dict[str, Any] = {
        "axes": ["c", "z", "y", "x"],
        "roi": ROI,
        "num_channels": None,
        "voxel_size": SIZE,
        "dtype": np.uint8,
    }
    return ZarrArray.create_from_array_identifier(LocalArrayIdentifier(path, dataset), **{**arguments, **kwargs})


def open_(path: Path, dataset: str = "raw", **kwargs: Any) -> ZarrArray:
    return ZarrArray(ZarrArrayConfig("array", path, dataset, **kwargs))


def store(
    path: Path, attributes: dict[str, Any], shape: tuple[int, ...] = (4, 5, 6), dataset: str = "raw"
) -> np.ndarray:
    values = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    write_zarr2(path, dataset, values, attributes, chunks=(2,) * values.ndim)
    return values


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.zarr"


# Creating


def test_create_write_and_open_again(path: Path) -> None:
    created = create(path, "volumes/fine/raw", num_channels=2)
    values = np.random.default_rng(0).integers(0, 255, (2, 10, 20, 30)).astype(np.uint8)
    created[ROI] = values
    opened = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(path, "volumes/fine/raw"), "name")
    assert opened.name == "name"
    assert (opened.roi, opened.voxel_size, opened.axes) == (ROI, SIZE, ["c", "z", "y", "x"])
    assert (opened.num_channels, opened.dtype, opened.spatial_axes) == (2, np.uint8, ["z", "y", "x"])
    np.testing.assert_array_equal(opened[ROI], values)
    np.testing.assert_array_equal(opened.data[:], values)


def test_created_arrays_read_elsewhere(path: Path) -> None:
    import funlib.persistence

    create(path, num_channels=2)[ROI] = 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = funlib.persistence.open_ds(str(path / "raw"))
    assert array.roi == ROI
    assert array.voxel_size == SIZE
    assert (array[ROI] == 3).all()


def test_created_arrays_are_zero_and_take_no_space(path: Path) -> None:
    array = create(path)
    assert not array[ROI].any()
    array[ROI] = 0
    assert [p.name for p in (path / "raw").iterdir() if not p.name.startswith(".")] == []


@pytest.mark.parametrize(("num_channels", "axes"), [(None, ["z", "y", "x"]), (1, ["c", "z", "y", "x"])])
def test_one_channel_has_an_axis_and_no_channels_have_none(path: Path, num_channels: Any, axes: list[str]) -> None:
    array = create(path, num_channels=num_channels)
    assert array.axes == axes
    assert array.num_channels == num_channels
    assert len(array.data.shape) == len(axes)


def test_create_in_2d_with_channels_last(path: Path) -> None:
    array = create(path, axes=["y", "x", "c"], roi=Roi((0, 0), (16, 24)), voxel_size=Coordinate(4, 4), num_channels=3)
    assert array.data.shape == (4, 6, 3)
    array[Roi((4, 8), (4, 4))] = [[[1, 2, 3]]]
    assert array.data[1, 2].tolist() == [1, 2, 3]
    assert array.data[:].sum() == 6


def test_existing_arrays_are_kept(path: Path) -> None:
    create(path)[ROI] = 5
    for mode in ("a", "w", "r+"):
        with pytest.raises(OutputExistsError, match="raw exists"):
            create(path, mode=mode)
    assert (open_(path)[ROI] == 5).all()
    assert not create(path, overwrite=True)[ROI].any()


def test_overwriting_leaves_the_neighbors(path: Path) -> None:
    create(path, "a/b")[ROI] = 1
    create(path, "a/c")[ROI] = 2
    create(path, "a/b", overwrite=True, mode="w")
    assert (open_(path, "a/c")[ROI] == 2).all()


@pytest.mark.parametrize("dataset", ["a", "a/b/c"])
def test_neither_groups_nor_arrays_on_the_way_are_replaced(path: Path, dataset: str) -> None:
    create(path, "a/b")[ROI] = 1
    with pytest.raises(OutputExistsError):
        create(path, dataset, overwrite=True)
    assert (open_(path, "a/b")[ROI] == 1).all()


def test_opening_with_mode_w_keeps_the_data(path: Path) -> None:
    create(path)[ROI] = 5
    array = open_(path, mode="w")
    assert array.writable
    assert (array[ROI] == 5).all()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"num_channels": 2, "axes": ["z", "y", "x"]}, ConfigError),
        ({"num_channels": 0}, ConfigError),
        ({"axes": ["y", "x"]}, ConfigError),
        ({"voxel_size": Coordinate(8, 8)}, ConfigError),
        ({"voxel_size": Coordinate(0, 8, 8)}, MetadataError),
        ({"roi": Roi((0, 0, 0), (80, 81, 80))}, RoiError),
        ({"roi": Roi((0, 0, 0), (80, 0, 80))}, RoiError),
        ({"roi": Roi((0, 0, 0), (80, None, 80))}, RoiError),
        ({"dtype": object}, DtypeError),
        ({"mode": "r"}, ConfigError),
    ],
)
def test_create_refuses(path: Path, arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        create(path, **arguments)
    assert not path.exists()


@pytest.mark.parametrize("dataset", ["../raw", "a/../../raw"])
def test_a_dataset_stays_in_its_container(path: Path, dataset: str) -> None:
    with pytest.raises(ConfigError, match="out of its container"):
        create(path, dataset)


def test_creating_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot create .*Not a directory"):
        create(tmp_path / "file" / "a.zarr")


def test_chunks_are_what_is_written_at_once(path: Path) -> None:
    array = create(path, num_channels=3, write_size=Coordinate(40, 400, 80))
    assert array.data.chunks == (3, 5, 20, 10)


def test_chunks_without_a_write_size() -> None:
    assert chunk_shape((500, 40, 500), "zyx", 1, None) == (64, 40, 64)
    assert chunk_shape((3, 5000, 5000), "cyx", 1, None) == (3, 512, 512)
    assert chunk_shape((10**7,), "x", 1, None) == (2**18,)


def test_large_chunks_are_split_evenly() -> None:
    chunks = chunk_shape((12, 2000, 2000, 2000), "czyx", 8, (200, 1200, 1200))
    assert np.prod(chunks) * 8 <= MAX_CHUNK_BYTES
    assert all(write % chunk == 0 for write, chunk in zip((200, 1200, 1200), chunks[1:], strict=True))
    # Odd sizes cannot be halved; a large chunk is better than one that two writes share.
    assert chunk_shape((999, 999, 999), "zyx", 1, (999, 999, 999)) == (999, 999, 999)


# Writing


def test_writing_a_part(path: Path) -> None:
    array = create(path, write_size=Coordinate(24, 24, 24))
    roi = Roi((16, 40, 80), (16, 24, 8))
    values = np.arange(1, 7).reshape(2, 3, 1)
    array[roi] = values
    np.testing.assert_array_equal(array[roi], values)
    assert array[ROI].sum() == 21


def test_writing_refuses_another_shape(path: Path) -> None:
    array = create(path)
    with pytest.raises(RoiError, match=r"\(2, 2, 2\).*\(1, 1, 1\)"):
        array[Roi(ROI.offset, SIZE)] = np.zeros((2, 2, 2))
    with pytest.raises(RoiError, match="not inside"):
        array[ROI + SIZE] = 1


def test_writing_what_was_opened_to_read(path: Path) -> None:
    create(path)
    array = open_(path, mode="r")
    assert not array.writable
    with pytest.raises(StorageError, match="mode 'r'"):
        array[ROI] = 1
    with pytest.raises(StorageError, match="mode 'r'"):
        array.add_metadata({"a": 1})


def test_a_failed_write_names_array_and_roi(path: Path) -> None:
    array = create(path, write_size=ROI.shape)
    shutil.rmtree(path / "raw")
    (path / "raw").write_text("in the way")
    with pytest.raises(StorageError, match=r"raw.*cannot write roi \[8:88, 16:176, 24:264\]"):
        array[ROI] = 1
    with pytest.raises(StorageError, match="cannot write attributes"):
        array.add_metadata({"a": 1})


def test_add_metadata(path: Path) -> None:
    array = create(path)
    array.add_metadata({"iteration": 5, "scores": {"voi": 0.5}})
    array.add_metadata({"iteration": 6})
    for seen in (array.attrs, open_(path).attrs):
        assert (seen["iteration"], seen["scores"]) == (6, {"voi": 0.5})
        assert seen["offset"] == [8, 16, 24]


def test_add_metadata_can_move_the_array_but_not_contradict_itself(path: Path) -> None:
    array = create(path)
    with pytest.raises(MetadataError, match="differently"):
        array.add_metadata({"resolution": [4, 4, 4]})
    assert open_(path).attrs["resolution"] == [8, 8, 8]
    array.add_metadata({"offset": [0, 0, 0]})
    assert array.roi.offset == open_(path).roi.offset == Coordinate(0, 0, 0)


def test_attributes_are_a_copy(path: Path) -> None:
    array = create(path)
    array.attrs["offset"] = None
    assert array.attrs["offset"] == [8, 16, 24]


# Finding and opening


def test_missing_container(path: Path) -> None:
    with pytest.raises(ArrayNotFoundError, match=r"data\.zarr does not exist"):
        open_(path)


def test_missing_dataset_lists_what_is_there(path: Path) -> None:
    for name in ("volumes/raw", "volumes/labels/all", "mask"):
        create(path, name)
    with pytest.raises(ArrayNotFoundError, match=r"it holds mask, volumes/labels/all, volumes/raw$"):
        open_(path, "rwa")
    with pytest.raises(ArrayNotFoundError, match="'volumes' is a group, not an array"):
        open_(path, "volumes")


def test_missing_dataset_of_an_empty_container(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ArrayNotFoundError, match="holds no arrays"):
        open_(path)


def test_a_long_list_of_datasets_is_cut(path: Path) -> None:
    for i in range(30):
        store(path, PLACED, dataset=f"a{i:02}")
    with pytest.raises(ArrayNotFoundError, match=r"a00, .*a19, \.\.\.$"):
        open_(path)


def test_verify_is_a_sentence(path: Path) -> None:
    config = ZarrArrayConfig("a", path, "raw")
    assert config.verify() == (False, f"file_name: container {path} does not exist (requested dataset 'raw')")
    create(path)
    assert config.verify()[0] is True
    valid, reason = ZarrArrayConfig("a", path, "labels").verify()
    assert not valid
    assert reason.startswith("dataset: ")
    assert "it holds raw" in reason
    assert "leads out" in ZarrArrayConfig("a", path, "../raw").verify()[1]


def test_unknown_mode(path: Path) -> None:
    create(path)
    with pytest.raises(ConfigError, match="expected one of r, r\\+, a, w"):
        open_(path, mode="x")


def test_mode_none_stands_for_the_default(path: Path) -> None:
    create(path)
    assert open_(path, mode=None).mode == "a"


def test_the_container_may_be_the_array(path: Path) -> None:
    create(path, "raw")
    assert open_(path / "raw", "").roi == ROI
    assert open_(path, "/raw/").roi == ROI


def test_container_as_text(path: Path) -> None:
    create(path)
    assert ZarrArrayConfig("a", str(path), "raw").file_name == path


@pytest.mark.parametrize("separator", [".", "/"])
def test_nested_and_flat_chunks(path: Path, separator: str) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_zarr2(path, "raw", values, PLACED, chunks=(1, 1, 1), dimension_separator=separator)
    array = open_(path)
    np.testing.assert_array_equal(array[array.roi], values)


def test_metadata_are_read_once(path: Path) -> None:
    create(path)[ROI] = 7
    array = open_(path)
    (path / "raw" / ".zattrs").unlink()
    (path / "raw" / ".zarray").unlink()
    assert array.roi == ROI
    assert array.attrs["offset"] == [8, 16, 24]
    assert (array[ROI] == 7).all()


def test_opening_to_write_changes_no_file(path: Path) -> None:
    create(path)[ROI] = 7
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in path.rglob("*")}
    array = open_(path, mode="a")
    array[ROI]
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in path.rglob("*")} == before


def test_a_damaged_chunk_names_array_and_roi(path: Path) -> None:
    array = create(path, write_size=Coordinate(40, 160, 240))
    array[ROI] = np.random.default_rng(0).integers(0, 255, (10, 20, 30))
    (path / "raw" / "1/0/0").write_bytes(b"not what it was")
    good, bad = Roi(ROI.offset, (40, 160, 240)), Roi((48, 16, 24), (8, 8, 8))
    assert array[good].any()
    with pytest.raises(StorageError, match=r"data\.zarr/raw.*cannot read roi \[48:56, 16:24, 24:32\]"):
        array[bad]


def test_attributes_that_are_no_json(path: Path) -> None:
    create(path)
    (path / "raw" / ".zattrs").write_text("{")
    with pytest.raises(MetadataError, match=r"\.zattrs is not valid JSON"):
        open_(path)


def test_an_unknown_codec_is_a_storage_error(path: Path) -> None:
    create(path)
    header = json.loads((path / "raw" / ".zarray").read_text())
    header["compressor"] = {"id": "made_up"}
    (path / "raw" / ".zarray").write_text(json.dumps(header))
    with pytest.raises(StorageError, match="made_up"):
        open_(path)


class Unsafe:
    """Unpickling this makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def test_pickled_objects_are_refused_and_not_run(path: Path, tmp_path: Path) -> None:
    header = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "fill_value": None, "order": "C"}
    (path / "raw").mkdir(parents=True)
    (path / "raw" / ".zarray").write_text(json.dumps({**header, "compressor": None, "filters": [{"id": "pickle"}]}))
    objects = np.array([Unsafe(tmp_path / "executed")], dtype=object)
    (path / "raw" / "0").write_bytes(numcodecs.Pickle().encode(objects))
    with pytest.raises(UnsafeFileError, match="pickle"):
        open_(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "|O"},
        {"dtype": [["a", "|O"], ["b", "<u4"]]},
        {"compressor": {"id": "pickle", "protocol": 5}},
        {"filters": [{"id": "delta", "dtype": "<u4"}, {"id": "pickle"}]},
    ],
)
def test_anything_that_could_unpickle_is_refused(path: Path, change: dict[str, Any]) -> None:
    create(path)
    header = json.loads((path / "raw" / ".zarray").read_text())
    (path / "raw" / ".zarray").write_text(json.dumps({**header, **change}))
    with pytest.raises(UnsafeFileError, match="Python objects"):
        open_(path)


# Place in the world


@pytest.mark.parametrize(
    "attributes",
    [
        PLACED,
        {"axis_names": ["z", "y", "x"], "voxel_size": [8, 8, 8], "offset": [8, 16, 24]},
        {"axes": ["z", "y", "x"], "axis_names": ["z", "y", "x"], "voxel_size": [8, 8, 8], **PLACED},
        {"axes": ["z", "y", "x"], "resolution": [8.0, 8.0, 8.0], "offset": [8.0, 16.0, 24.0]},
        {"transform": {"axes": ["z", "y", "x"], "scale": [8, 8, 8], "translate": [8, 16, 24], "units": ["nm"] * 3}},
    ],
)
def test_plain_attributes(path: Path, attributes: dict[str, Any]) -> None:
    values = store(path, attributes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        array = open_(path)
    assert array.axes == ["z", "y", "x"]
    assert array.voxel_size == SIZE
    assert array.roi == Roi((8, 16, 24), (32, 40, 48))
    np.testing.assert_array_equal(array[Roi((16, 16, 24), (8, 16, 48))], values[1:2, :2])


@pytest.mark.parametrize(
    "attributes",
    [
        {"axes": ["c^", "z", "y", "x"]},
        {"axis_names": ["channels^", "z", "y", "x"]},
        {"axis_names": ["c0^", "z", "y", "x"], "types": ["channel", "space", "space", "space"]},
        {"axis_names": ["label", "z", "y", "x"], "types": ["channel", "space", "space", "space"]},
    ],
)
def test_marked_channel_axes(path: Path, attributes: dict[str, Any]) -> None:
    store(
        path,
        {**attributes, "resolution": [1, 8, 4, 4], "offset": [0, 8, 8, 8], "units": ["", "nm", "nm", "nm"]},
        (2, 3, 4, 5),
    )
    array = open_(path)
    assert array.axes == ["c", "z", "y", "x"]
    assert array.num_channels == 2
    assert array.roi == Roi((8, 8, 8), (24, 16, 20))
    assert array.units == ["nm"] * 3


@pytest.mark.parametrize(
    ("shape", "attributes", "axes"),
    [
        ((4, 5, 6), {}, ["z", "y", "x"]),
        ((5, 6), {}, ["y", "x"]),
        ((6,), {}, ["x"]),
        ((2, 4, 5, 6), {}, ["c", "z", "y", "x"]),
        ((1, 2, 4, 5, 6), {}, ["b", "c", "z", "y", "x"]),
        ((2, 5, 6), {"resolution": [4, 4]}, ["c", "y", "x"]),
    ],
)
def test_missing_attributes_get_a_default_and_a_warning(
    path: Path, shape: tuple[int, ...], attributes: dict[str, Any], axes: list[str]
) -> None:
    store(path, attributes, shape)
    with pytest.warns(MetadataWarning) as caught:
        array = open_(path)
    messages = " ".join(str(w.message) for w in caught)
    assert array.axes == axes
    assert array.voxel_size == Coordinate((4,) * array.dims if attributes else (1,) * array.dims)
    assert array.roi.offset == Coordinate((0,) * array.dims)
    assert f"no axes in its attributes; assumed {', '.join(axes)}" in messages
    assert "no offset in its attributes; assumed 0" in messages
    assert ("no voxel size" in messages) is not bool(attributes)
    assert "data.zarr/raw" in messages


@pytest.mark.parametrize("axes", [["zyx"], "zyx", ["z", "y", "x"], "z, y, x", "z y x", ["ZYX"]])
@pytest.mark.parametrize("key", ["axes", "axis_names", "transform"])
def test_axes_may_be_one_word(path: Path, axes: Any, key: str) -> None:
    values = store(path, {**PLACED, "axes": ["z", "y", "x"], key: {"axes": axes} if key == "transform" else axes})
    array = open_(path)
    assert (array.axes, array.channel_axis) == (["z", "y", "x"], None)
    np.testing.assert_array_equal(array[array.roi], values)


@pytest.mark.parametrize(
    ("axes", "names"),
    [
        (["czyx"], ["c", "z", "y", "x"]),
        ("c^zyx", ["c", "z", "y", "x"]),
        ("zyxc", ["z", "y", "x", "c"]),
        (["s^", "z", "y", "x"], ["c", "z", "y", "x"]),
    ],
)
@pytest.mark.parametrize("full", [False, True])
def test_channels_in_a_word_of_axes(path: Path, axes: Any, names: list[str], full: bool) -> None:
    place = {
        key: [1] * full + PLACED[key] if names[0] == "c" else PLACED[key] + [1] * full
        for key in ("resolution", "offset")
    }
    store(path, {**PLACED, **place, "axes": axes}, (2, 4, 5, 6) if names[0] == "c" else (4, 5, 6, 2))
    array = open_(path)
    assert (array.axes, array.num_channels) == (names, 2)
    assert array.roi == Roi((8, 16, 24), (32, 40, 48))


def test_axes_of_one_word_in_configs_and_in_python(path: Path) -> None:
    store(path, {"resolution": [4, 8], "offset": [0, 8]}, (2, 4, 5))
    assert open_(path, axes=["cyx"]).axes == ["c", "y", "x"]
    created = create(path, "made", axes="c^zyx", num_channels=2)
    assert created.axes == created.attrs["axes"] == ["c", "z", "y", "x"]


@pytest.mark.parametrize("axes", [["zy"], "zyxx", ["time"], 3])
def test_words_that_are_no_axes_of_the_data(path: Path, axes: Any) -> None:
    store(path, {**PLACED, "axes": axes})
    with pytest.raises(MetadataError, match=r"data\.zarr/raw: axes"):
        open_(path)


def test_units_tell_the_number_of_spatial_axes(path: Path) -> None:
    store(path, {"units": ["nm", "nm"]}, (2, 4, 5))
    with pytest.warns(MetadataWarning):
        array = open_(path)
    assert (array.axes, array.units) == (["c", "y", "x"], ["nm", "nm"])


def test_axes_of_the_config_win(path: Path) -> None:
    values = store(path, {**PLACED, "axes": ["x", "y", "z"]})
    array = open_(path, axes=["z", "y", "x"])
    assert array.axes == ["z", "y", "x"]
    np.testing.assert_array_equal(array[array.roi], values)
    store(path, {"resolution": [4, 4], "offset": [0, 0]}, dataset="last")
    assert open_(path, "last", axes=["y", "x", "c^"]).num_channels == 6


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({**PLACED, "axes": ["y", "x"]}, "axes is .* 2 names for an array of shape"),
        ({**PLACED, "axis_names": ["x", "y", "z"]}, "axes given twice and differently"),
        ({**PLACED, "axes": ["z", "z", "x"]}, "different names"),
        ({**PLACED, "resolution": [8, 8]}, r"resolution is \[8, 8\], 2 entries"),
        ({**PLACED, "offset": [0]}, r"offset is \[0\]"),
        ({**PLACED, "units": ["nm"]}, "units is"),
        ({**PLACED, "voxel_size": [4, 4, 4]}, r"voxel_size is \[4, 4, 4\], resolution is \[8, 8, 8\]"),
        ({**PLACED, "resolution": [8, 0, 8]}, "must be positive"),
        ({**PLACED, "resolution": [8, -8, 8]}, "must be positive"),
        ({**PLACED, "resolution": [2.71828182845, 2, 2]}, "inexact"),
        ({**PLACED, "offset": [0, 0, 1 / 3 + 1e-8]}, "inexact"),
        ({**PLACED, "resolution": 8}, "expected a list"),
        ({**PLACED, "resolution": ["a", "b", "c"]}, "expected numbers"),
        ({**PLACED, "offset": [float("nan"), 0, 0]}, "expected numbers"),
        ({**PLACED, "transform": {"scale": [4, 4, 4]}}, "transform/scale"),
    ],
)
@pytest.mark.filterwarnings("ignore::dacapo.errors.MetadataWarning")
def test_contradictions_name_file_key_and_value(path: Path, attributes: dict[str, Any], message: str) -> None:
    store(path, attributes)
    with pytest.raises(MetadataError, match=message) as error:
        open_(path)
    assert "data.zarr/raw" in str(error.value)


def test_six_axes_cannot_be_guessed(path: Path) -> None:
    store(path, {}, (1,) * 6)
    with pytest.raises(MetadataError, match="no default for 6 dimensions"):
        open_(path)


# The offset lies a fraction of a voxel beside the grid of the other arrays.
def test_snapping_moves_by_less_than_a_voxel(path: Path) -> None:
    values = store(path, {**PLACED, "offset": [6, 14, 24]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        array = open_(path, snap_to_grid=Coordinate(8, 8, 8))
    assert array.roi == Roi((8, 16, 24), (24, 32, 48))
    np.testing.assert_array_equal(array[array.roi], values[:3, :4])


def test_snapping_by_more_warns(path: Path) -> None:
    # The recorded values of the original have the data moved with the corner of the roi, so ours have too.
    values = store(path, PLACED)
    with pytest.warns(MetadataWarning, match=r"moves the data by \(8, 0, 8\)"):
        array = open_(path, snap_to_grid=Coordinate(16, 16, 16))
    assert array.roi == Roi((16, 16, 32), (16, 32, 32))
    np.testing.assert_array_equal(array[array.roi], values[:2, :4, :4])


def test_snapping_refuses(path: Path) -> None:
    store(path, PLACED)
    with pytest.raises(RoiError, match="holds no whole cell"):
        open_(path, snap_to_grid=Coordinate(800, 800, 800))
    for grid in (Coordinate(8, 8), Coordinate(0, 8, 8)):
        with pytest.raises(ConfigError, match="snap_to_grid"):
            open_(path, snap_to_grid=grid)


# OME-NGFF


def ome(
    *transforms: dict[str, Any], unit: str = "nanometer", channel: bool = False, path: str = "s0"
) -> dict[str, Any]:
    axes: list[dict[str, str]] = [{"name": "channels", "type": "channel"}] if channel else []
    axes += [{"name": name, "type": "space", "unit": unit} for name in "zyx"]
    return {"version": "0.4", "axes": axes, "datasets": [{"path": path, "coordinateTransformations": list(transforms)}]}


def scale(*values: float) -> dict[str, Any]:
    return {"type": "scale", "scale": list(values)}


def translation(*values: float) -> dict[str, Any]:
    return {"type": "translation", "translation": list(values)}


def test_ome_scale_and_translation_on_the_group(path: Path) -> None:
    store(path, {}, dataset="em/s0")
    multiscales = ome(scale(8, 4, 4), translation(16, 0, 4))
    zarr.open_group(str(path))["em"].attrs["multiscales"] = [multiscales]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        array = open_(path, "em/s0")
    assert array.axes == ["z", "y", "x"]
    assert array.voxel_size == Coordinate(8, 4, 4)
    assert array.roi.offset == Coordinate(16, 0, 4)
    assert array.units == ["nm"] * 3


def test_ome_micrometers_with_channels_and_a_scale_of_the_image(path: Path) -> None:
    store(path, {}, (2, 3, 4, 5), dataset="s1")
    multiscales = ome(scale(1, 0.25, 0.13, 0.13), unit="micrometer", channel=True, path="s1")
    multiscales["coordinateTransformations"] = [scale(1, 2, 2, 2), translation(0, 1, 0, 0)]
    zarr.open_group(str(path)).attrs["multiscales"] = [multiscales]
    array = open_(path, "s1")
    assert array.axes == ["c", "z", "y", "x"]
    assert array.voxel_size == Coordinate(500, 260, 260)
    assert array.roi.offset == Coordinate(1000, 0, 0)


@pytest.mark.parametrize(
    ("shift", "begin"), [((4, 2, 0), (16, 0, 4)), ((0, 0, 0), (16, 0, 4)), ((4, 0, 0), (20, 0, 4))]
)
def test_ome_translations_of_centres(path: Path, shift: tuple[int, ...], begin: tuple[int, ...]) -> None:
    """Where a level is shifted by half of what its voxels grew, along all axes, it begins where the first does."""
    store(path, {}, dataset="s0")
    store(path, {}, dataset="s1")
    multiscales = ome(scale(8, 4, 4), translation(16, 0, 4))
    moved = translation(16 + shift[0], shift[1], 4 + shift[2])
    multiscales["datasets"] += ome(scale(16, 8, 4), moved, path="s1")["datasets"]
    zarr.open_group(str(path)).attrs["multiscales"] = [multiscales]
    assert open_(path, "s0").roi.begin == Coordinate(16, 0, 4)
    assert open_(path, "s1").roi.begin == Coordinate(begin)


def test_ome_contradicts_the_array(path: Path) -> None:
    store(path, PLACED, dataset="s0")
    zarr.open_group(str(path)).attrs["multiscales"] = [ome(scale(8, 8, 4), translation(8, 16, 24))]
    with pytest.raises(MetadataError, match=r"resolution is \[8, 8, 8\].*multiscales.*\[8, 8, 4\]"):
        open_(path, "s0")


def test_ome_of_another_array_is_not_used(path: Path) -> None:
    store(path, PLACED, dataset="other")
    zarr.open_group(str(path)).attrs["multiscales"] = [ome(scale(4, 4, 4))]
    assert open_(path, "other").voxel_size == SIZE


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([{"type": "affine", "affine": []}], "unknown"),
        ([scale(1, 1)], "one entry for each of the 3 axes"),
        ([scale(1, 1, 1), translation(1, 1)], "expected one entry|entries"),
        ([scale(1, 1, 1), scale(1, 1)], "3 and 2 entries"),
    ],
)
def test_ome_that_makes_no_sense(path: Path, transforms: list[dict[str, Any]], message: str) -> None:
    store(path, {}, dataset="s0")
    zarr.open_group(str(path)).attrs["multiscales"] = [ome(*transforms)]
    with pytest.raises(MetadataError, match=message):
        open_(path, "s0")


# Zarr v3 and N5


def write_tensorstore(path: Path, driver: str, values: np.ndarray, metadata: dict[str, Any]) -> None:
    spec = {
        "driver": driver,
        "kvstore": {"driver": "file", "path": f"{path}/"},
        "metadata": metadata,
        "dtype": values.dtype.name,
        "create": True,
    }
    tensorstore.open(spec).result().write(values).result()


def test_zarr3(path: Path) -> None:
    values = np.arange(120, dtype=np.uint16).reshape(4, 5, 6)
    write_tensorstore(path / "em" / "s0", "zarr3", values, {"shape": [4, 5, 6], "attributes": PLACED})
    array = open_(path, "em/s0")
    assert array.roi == Roi((8, 16, 24), (32, 40, 48))
    assert array.dtype == np.uint16
    assert array.writable
    roi = Roi((16, 16, 32), (16, 8, 16))
    part = array[roi]
    assert type(part) is np.ndarray
    np.testing.assert_array_equal(part, values[1:3, :1, 1:3])
    np.testing.assert_array_equal(np.asarray(array.data[:]), values)
    array[roi] = 1
    array.add_metadata({"note": "mine"})
    again = pickle.loads(pickle.dumps(open_(path, "em/s0", mode="r")))
    assert np.all(again[roi] == 1)
    assert again.attrs == {**PLACED, "note": "mine"}
    with pytest.raises(StorageError, match="mode 'r'"):
        again[roi] = 1


def test_zarr3_dimension_names_and_ome(path: Path) -> None:
    values = np.zeros((2, 4, 5, 6), dtype=np.uint8)
    metadata = {"shape": [2, 4, 5, 6], "dimension_names": ["c", "z", "y", "x"]}
    write_tensorstore(path / "em" / "s0", "zarr3", values, metadata)
    multiscales = ome(scale(1, 8, 8, 8), channel=True)
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"ome": {"version": "0.5", "multiscales": [multiscales]}},
    }
    (path / "em" / "zarr.json").write_text(json.dumps(group))
    array = open_(path, "em/s0")
    assert array.axes == ["c", "z", "y", "x"]
    assert array.num_channels == 2
    assert array.voxel_size == SIZE
    assert array.roi.offset == Coordinate(0, 0, 0)
    with pytest.warns(MetadataWarning, match="no (voxel size|offset)"):
        assert open_(path / "em" / "s0", "").axes == ["c", "z", "y", "x"]


def n5(path: Path, attributes: dict[str, Any], values: np.ndarray) -> None:
    # What N5 calls its first axis runs fastest, so it is the last one here.
    metadata = {"dimensions": values.shape[::-1], "blockSize": [3] * values.ndim, "dataType": values.dtype.name}
    write_tensorstore(path, "n5", values.T, {**metadata, "compression": {"type": "gzip"}})
    header = json.loads((path / "attributes.json").read_text())
    (path / "attributes.json").write_text(json.dumps({**header, **attributes}))


@pytest.mark.parametrize(
    "attributes",
    [
        {"axes": ["x", "y", "z"], "resolution": [2, 4, 8], "offset": [6, 4, 16], "units": ["nm"] * 3},
        {"axes": ["x", "y", "z"], "pixelResolution": {"dimensions": [2, 4, 8], "unit": "nm"}, "offset": [6, 4, 16]},
        {"axes": ["x", "y", "z"], "pixelResolution": [2, 4, 8], "offset": [6, 4, 16], "units": ["nm"] * 3},
        {
            "axes": ["x", "y", "z"],
            "pixelResolution": {"dimensions": [1, 2, 2], "unit": "nm"},
            "downsamplingFactors": [2, 2, 4],
            "offset": [6, 4, 16],
        },
        {
            "pixelResolution": {"dimensions": [2, 4, 8], "unit": "nm"},
            "transform": {
                "axes": ["z", "y", "x"],
                "scale": [8, 4, 2],
                "translate": [16, 4, 6],
                "units": ["nm", "nm", "nm"],
            },
        },
    ],
)
def test_n5_runs_backwards(tmp_path: Path, attributes: dict[str, Any]) -> None:
    values = np.arange(120, dtype=np.uint16).reshape(4, 5, 6)
    n5(tmp_path / "data.n5" / "em" / "s0", attributes, values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        array = open_(tmp_path / "data.n5", "em/s0")
    assert array.axes == ["z", "y", "x"]
    assert array.voxel_size == Coordinate(8, 4, 2)
    assert array.roi == Roi((16, 4, 6), (32, 20, 12))
    assert array.units == ["nm"] * 3
    np.testing.assert_array_equal(array[array.roi], values)
    np.testing.assert_array_equal(array[Roi((24, 4, 8), (8, 8, 4))], values[1:2, :2, 1:3])


@pytest.mark.parametrize(
    "attributes",
    [
        {"axes": ["x", "y", "z", "c^"], "resolution": [2, 4, 8], "units": ["nm"] * 3, "offset": [6, 4, 16]},
        {"axes": "xyzc", "resolution": [2, 4, 8], "units": ["nm"] * 3, "offset": [6, 4, 16]},
        {"axes": ["xyzc"], "resolution": [2, 4, 8, 1], "units": ["nm"] * 3, "offset": [6, 4, 16, 0]},
        {"axes": ["x", "y", "z", "c"], "resolution": [2, 4, 8], "units": ["nm", "nm", "nm", ""], "offset": [6, 4, 16]},
        {
            "axes": ["x", "y", "z", "c"],
            "pixelResolution": {"dimensions": [1, 2, 2], "unit": "nm"},
            "downsamplingFactors": [2, 2, 4, 1],
            "offset": [6, 4, 16],
        },
        {
            "axes": ["x", "y", "z", "c"],
            "pixelResolution": {"dimensions": [1, 2, 2, 1], "unit": "nm"},
            "downsamplingFactors": [2, 2, 4],
            "offset": [6, 4, 16],
        },
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_n5_with_channels_and_metadata_of_space_only(tmp_path: Path, attributes: dict[str, Any], first: bool) -> None:
    values = np.arange(240, dtype=np.uint16).reshape(2, 4, 5, 6)
    if not first:  # in the order of N5 the channels then come first
        values = np.moveaxis(values, 0, -1)
        attributes = {key: _channel_first(value) for key, value in attributes.items()}
    n5(tmp_path / "data.n5" / "em" / "s0", attributes, values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        array = open_(tmp_path / "data.n5", "em/s0")
    assert array.axes == (["c", "z", "y", "x"] if first else ["z", "y", "x", "c"])
    assert array.voxel_size == Coordinate(8, 4, 2)
    assert array.roi == Roi((16, 4, 6), (32, 20, 12))
    assert (array.units, array.num_channels) == (["nm"] * 3, 2)
    np.testing.assert_array_equal(array[array.roi], values)


def _channel_first(value: Any) -> Any:
    """Move the entry of the channels, of four, to the front."""
    if isinstance(value, dict):
        return {key: _channel_first(entry) for key, entry in value.items()}
    if value == ["xyzc"]:
        return ["cxyz"]
    return (
        [value[3], *value[:3]] if isinstance(value, list) and len(value) == 4 else "cxyz" if value == "xyzc" else value
    )


def test_n5_with_channels_and_no_names_of_axes(tmp_path: Path) -> None:
    values = np.arange(240, dtype=np.uint16).reshape(2, 4, 5, 6)
    attributes = {"pixelResolution": [1, 2, 2], "downsamplingFactors": [2, 2, 4, 1], "units": ["nm"] * 3}
    n5(tmp_path / "data.n5" / "s0", {**attributes, "offset": [6, 4, 16]}, values)
    with pytest.warns(MetadataWarning, match="assumed c, z, y, x"):
        array = open_(tmp_path / "data.n5", "s0")
    assert array.roi == Roi((16, 4, 6), (32, 20, 12))
    np.testing.assert_array_equal(array[array.roi], values)


@pytest.mark.parametrize("key", ["pixelResolution", "resolution"])
def test_n5_resolution_of_the_group(tmp_path: Path, key: str) -> None:
    values = np.zeros((4, 5, 6), dtype=np.uint8)
    n5(tmp_path / "data.n5" / "em" / "s1", {"axes": ["x", "y", "z"], "downsamplingFactors": [2, 2, 1]}, values)
    (tmp_path / "data.n5" / "em" / "attributes.json").write_text(json.dumps({key: [2, 4, 8]}))
    with pytest.warns(MetadataWarning, match="no offset"):
        array = open_(tmp_path / "data.n5", "em/s1")
    assert array.voxel_size == Coordinate(8, 8, 4)


def test_n5_factors_of_another_length(tmp_path: Path) -> None:
    attributes = {"pixelResolution": [2, 4, 8], "downsamplingFactors": [2, 2]}
    n5(tmp_path / "data.n5", attributes, np.zeros((4, 5, 6), dtype=np.uint8))
    with pytest.raises(MetadataError, match="downsamplingFactors"):
        open_(tmp_path / "data.n5", "")


def test_n5_datasets_are_listed_and_not_written_to(tmp_path: Path) -> None:
    n5(tmp_path / "data.n5" / "em" / "s0", {}, np.zeros((4, 5, 6), dtype=np.uint8))
    (tmp_path / "data.n5" / "attributes.json").write_text('{"n5": "2.5.0"}')
    with pytest.raises(ArrayNotFoundError, match=r"it holds em/s0$"):
        open_(tmp_path / "data.n5", "em/s1")
    with pytest.raises(StorageError, match="not a Zarr v2 container"):
        create(tmp_path / "data.n5")


def test_a_damaged_n5_block(tmp_path: Path) -> None:
    attributes = {"axes": ["x", "y", "z"], "resolution": [1, 1, 1], "offset": [0, 0, 0]}
    n5(tmp_path / "data.n5", attributes, np.ones((4, 5, 6), dtype=np.uint8))
    (tmp_path / "data.n5" / "0" / "0" / "0").write_bytes(b"damaged")
    array = open_(tmp_path / "data.n5", "")
    with pytest.raises(StorageError, match="cannot read roi"):
        array[array.roi]


def test_real_data(fib25: Path) -> None:
    labels = open_(fib25, "labels", mode="r")
    assert labels.roi == Roi((0, 0, 0), (1800, 2500, 2500))
    assert labels.voxel_size == Coordinate(10, 10, 10)
    config = CropArrayConfig("crop", labels.config, Roi((900, 0, 0), (20, 100, 100)))
    crop = config.array_type(config)
    np.testing.assert_array_equal(crop[crop.roi], labels.data[90:92, :10, :10])
