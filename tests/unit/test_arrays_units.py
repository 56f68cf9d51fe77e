"""Units, and voxel sizes with fractions: what is read, what is written, and where voxels are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import zarr
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, MetadataError, MetadataWarning, RoiError
from dacapo.experiments.datasplits import TrainValidateDataSplit, TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDataset, RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import (
    Array,
    ConcatArrayConfig,
    CropArrayConfig,
    ResampledArrayConfig,
    ZarrArray,
    ZarrArrayConfig,
    open_array,
)
from dacapo.experiments.datasplits.datasets.arrays.world import (
    World,
    common_unit,
    parse_world_unit,
    placed_extent,
    placed_roi,
)
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.world_text import parse_extent, parse_roi
from tests.helpers.arrays import build

LONG = 100_000


def stored(path: Path, dataset: str, shape: tuple[int, ...], attributes: dict[str, Any], dtype: Any = "u1") -> Any:
    """Create an array whose chunks are missing until they are written."""
    array = zarr.open_group(str(path), mode="a").create_dataset(dataset, shape=shape, chunks=(16,) * 3, dtype=dtype)
    array.attrs.put(attributes)
    return array


def plain(size: Any, offset: Any = (0, 0, 0), units: Any = None) -> dict[str, Any]:
    found = {"axes": ["z", "y", "x"], "resolution": list(size), "offset": list(offset)}
    return found if units is None else {**found, "units": list(units)}


def open_(path: Path, dataset: str, **fields: Any) -> ZarrArray:
    return ZarrArray(ZarrArrayConfig("raw", path, dataset, mode="r", **fields))


def pyramid(path: Path, unit: str, *levels: tuple[list[float], list[float]]) -> None:
    """Store arrays s0, s1, ... with OME-NGFF metadata: scale and translation of each."""
    datasets = []
    for number, (scale, translation) in enumerate(levels):
        stored(path, f"s{number}", (8, 8, 8), {})
        transforms = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": translation}]
        datasets.append({"path": f"s{number}", "coordinateTransformations": transforms})
    axes = [{"name": name, "type": "space", "unit": unit} for name in "zyx"]
    zarr.open_group(str(path)).attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]


def copied(array: Array, container: Path, dataset: str = "copy") -> ZarrArray:
    """Create an array like another one."""
    return ZarrArray.create_from_array_identifier(
        LocalArrayIdentifier(container, dataset),
        array.axes,
        array.roi,
        None,
        array.voxel_size,
        np.uint8,
        world=array.world,
    )


@pytest.mark.parametrize("unit", ["um", "micrometer", "nm", "px", ""])
def test_the_units_of_an_input_are_those_of_its_output(tmp_path: Path, unit: str) -> None:
    stored(tmp_path / "in.zarr", "raw", (8, 8, 8), plain((2, 1, 1), (4, 0, 3), [unit] * 3))
    array = open_(tmp_path / "in.zarr", "raw")
    assert (array.units, array.voxel_size, array.spacing) == ([unit] * 3, Coordinate(2, 1, 1), (2, 1, 1))
    made = copied(array, tmp_path / "out.zarr")
    assert made.attrs["units"] == [unit] * 3
    assert made.attrs["resolution"] == [2, 1, 1]
    assert (made.roi, made.world) == (array.roi, array.world)


def test_pixels_without_a_unit_stay_pixels(tmp_path: Path) -> None:
    stored(tmp_path / "in.zarr", "raw", (8, 8, 8), plain((1, 1, 1)))
    made = copied(open_(tmp_path / "in.zarr", "raw"), tmp_path / "out.zarr")
    assert made.attrs["units"] == ["", "", ""]


def test_micrometers_of_ome_are_nanometers_inside_and_keep_their_name(tmp_path: Path) -> None:
    pyramid(tmp_path / "in.zarr", "micrometer", ([0.04, 0.00524, 0.00524], [0, 0.1, 0]))
    array = open_(tmp_path / "in.zarr", "s0")
    assert array.spacing == (40, 5.24, 5.24)
    assert array.units == ["nm"] * 3
    assert array.world.shown == ("micrometer",) * 3
    assert array.roi.offset == Coordinate(0, 10000, 0)


def test_n5_states_its_unit(tmp_path: Path) -> None:
    store = zarr.N5Store(str(tmp_path / "in.n5"))
    array = zarr.create((4, 5, 6), chunks=(4, 5, 6), dtype="u1", store=store, path="raw")
    array.attrs.put({"pixelResolution": {"dimensions": [0.004, 0.004, 0.03], "unit": "um"}})
    with pytest.warns(MetadataWarning):
        opened = open_(tmp_path / "in.n5", "raw")
    assert opened.spacing == (30, 4, 4)
    assert (opened.units, opened.world.shown) == (["nm"] * 3, ("micrometer",) * 3)


@pytest.mark.parametrize(
    ("size", "offset", "parts"),
    [
        ((5.24, 5.24, 5.24), (0, 0, 0), 100),
        ((4.5, 4.5, 4.5), (2.25, 0, 0), 100),
        ((4.5, 4, 4), (0, 0, 0), 10),
        ((5.239999771118164,) * 3, (0, 0, 0), 100),  # 5.24 as float32
        ((5.240000000000001,) * 3, (0, 0, 0), 100),
        ((100 / 3,) * 3, (0, 0, 0), 3),
        ((4, 4, 40), (0, 0, 0), 1),
        ((4.0000004,) * 3, (0, 0, 0), 1),
    ],
)
def test_fractions_are_exact(tmp_path: Path, size: Any, offset: Any, parts: int) -> None:
    path = tmp_path / "in.zarr"
    stored(path, "raw", (LONG, 16, 16), plain(size, offset, ["nm"] * 3))
    array = open_(path, "raw")
    assert array.world.parts == parts
    exactly = np.array([5.24] * 3 if parts == 100 and size[0] > 5 else size)
    np.testing.assert_allclose(array.spacing, np.round(exactly, 6) if parts != 3 else exactly, rtol=1e-12)
    assert array.roi.shape / array.voxel_size == Coordinate(LONG, 16, 16)
    made = copied(array, tmp_path / "out.zarr")
    assert made.roi == array.roi
    assert made.attrs["resolution"] == pytest.approx(list(exactly), rel=1e-6)
    assert open_(tmp_path / "out.zarr", "copy").world == array.world


def test_a_voxel_at_the_far_end_of_a_long_axis_is_found(tmp_path: Path) -> None:
    path = tmp_path / "in.zarr"
    data = stored(path, "raw", (LONG, 16, 16), plain((5.24, 4.5, 4), (2.62, 0, 0), ["nm"] * 3))
    for place in (0, 1, 33_333, 99_999):
        data[place, 3, 5] = 7
    array = open_(path, "raw")
    for place in (0, 1, 33_333, 99_999):
        roi = placed_roi(
            parse_roi(f"[{2.62 + place * 5.24:.2f}:{2.62 + (place + 1) * 5.24:.2f}nm,13.5:18nm,20:24nm]"), array.world
        )
        assert array[roi].tolist() == [[[7]]]
        assert array.read_padded(roi.grow(array.voxel_size, array.voxel_size))[1, 1, 1] == 7
    crop = build(CropArrayConfig("crop", array.config, roi))
    assert crop[crop.roi].tolist() == [[[7]]]
    made = copied(array, tmp_path / "out.zarr")
    made[roi] = 9
    assert zarr.open(str(tmp_path / "out.zarr"))["copy"][99_999, 3, 5] == 9


def test_levels_of_one_pyramid_count_in_one_unit(tmp_path: Path) -> None:
    levels = [([5.24 * 2**n] * 3, [5.24 * (2**n - 1) / 2] * 3) for n in range(4)]
    pyramid(tmp_path / "in.zarr", "nanometer", *levels)
    arrays = [open_(tmp_path / "in.zarr", f"s{n}") for n in range(4)]
    assert [array.spacing[0] for array in arrays] == [5.24, 10.48, 20.96, 41.92]
    assert common_unit([array.world for array in arrays]) is None
    # The translations are centers of voxels, so all corners coincide.
    assert {array.roi.offset for array in arrays} == {Coordinate(0, 0, 0)}


def test_attributes_that_hold_a_size_rounded_give_way_to_the_exact_one(tmp_path: Path) -> None:
    pyramid(tmp_path / "in.zarr", "nanometer", ([5.24] * 3, [0] * 3))
    zarr.open_group(str(tmp_path / "in.zarr"))["s0"].attrs["resolution"] = [5, 5, 5]
    with pytest.warns(MetadataWarning, match="resolution holds the voxel size rounded"):
        assert open_(tmp_path / "in.zarr", "s0").spacing == (5.24,) * 3


def test_micrometers_in_both_conventions_agree(tmp_path: Path) -> None:
    pyramid(tmp_path / "in.zarr", "micrometer", ([2, 1, 1], [0] * 3))
    zarr.open_group(str(tmp_path / "in.zarr"))["s0"].attrs.put(plain((2, 1, 1), units=["um"] * 3))
    array = open_(tmp_path / "in.zarr", "s0")
    assert (array.voxel_size, array.units) == (Coordinate(2, 1, 1), ["um"] * 3)


def test_a_point_in_time_and_a_plane_have_the_units_of_space(tmp_path: Path) -> None:
    path = tmp_path / "in.zarr"
    group = zarr.open_group(str(path))
    group.create_dataset("0", shape=(3, 2, 4, 5, 6), dtype="u1")
    axes = [{"name": "t", "type": "time", "unit": "second"}, {"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    transforms = [{"type": "scale", "scale": [1.5, 1, 0.04, 0.00524, 0.00524]}]
    levels = [{"path": "0", "coordinateTransformations": transforms}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": levels}]
    movie = open_array(path, "0")
    assert (movie.units, movie.spacing) == (["", "nm", "nm", "nm"], (1, 40, 5.24, 5.24))
    for index, dims in (({"t": 1}, 3), ({"t": 1, "z": 0}, 2)):
        array = open_array(path, "0", select=index)
        assert (array.units, array.spacing) == (["nm"] * dims, (40, 5.24, 5.24)[-dims:])
        assert array.world.shown == ("micrometer",) * dims
    assert open_array(path, "0", world_unit="0.001 nm").spacing == (1, 40, 5.24, 5.24)


# Several arrays


def dataset(path: Path, **fields: Any) -> RawGTDatasetConfig:
    raw = ZarrArrayConfig("raw", path, "raw", mode="r")
    return RawGTDatasetConfig("data", raw_config=raw, gt_config=ZarrArrayConfig("gt", path, "gt", mode="r"), **fields)


@pytest.mark.parametrize(
    ("raw", "gt", "unit", "sizes"),
    [
        (plain((10,) * 3, units=["nm"] * 3), plain((2.5,) * 3, units=["nm"] * 3), "0.1 nm", (100, 25)),
        (plain((9,) * 3, units=["nm"] * 3), plain((2.25,) * 3, units=["nm"] * 3), "0.01 nm", (900, 225)),
        (plain((1,) * 3, units=["um"] * 3), plain((500,) * 3, units=["nm"] * 3), "1 nm", (1000, 500)),
        (plain((9,) * 3), plain((4.5,) * 3, units=["nm"] * 3), "0.1 nm", (90, 45)),
    ],
)
def test_raw_and_labels_agree_on_a_unit(tmp_path: Path, raw: Any, gt: Any, unit: str, sizes: Any) -> None:
    path = tmp_path / "in.zarr"
    stored(path, "raw", (8, 8, 8), raw)
    stored(path, "gt", (8, 8, 8), gt)
    built = RawGTDataset(dataset(path))
    assert built.gt is not None
    assert (built.raw.voxel_size[0], built.gt.voxel_size[0]) == sizes
    assert built.config.raw_config.world_unit == unit
    # What is made from them is read in the same unit, also where its own numbers would not need it.
    made = copied(built.raw, tmp_path / "out.zarr")
    assert made.attrs["resolution"] == list(built.raw.spacing)
    assert made.voxel_size == built.raw.voxel_size


def test_all_datasets_of_a_split_agree_and_crops_and_points_follow(tmp_path: Path) -> None:
    for name, size in (("one.zarr", 4), ("two.zarr", 4.5)):
        for part in ("raw", "gt"):
            stored(tmp_path / name, part, (8, 8, 8), plain((size,) * 3, units=["nm"] * 3))
    one = dataset(tmp_path / "one.zarr", sample_points=[Coordinate(12, 12, 12)])
    one.raw_config = CropArrayConfig("crop", one.raw_config, Roi((8, 8, 8), (16, 16, 16)))
    two = attrs.evolve(dataset(tmp_path / "two.zarr"), name="two")
    split = TrainValidateDataSplit(TrainValidateDataSplitConfig("split", [one], [two]))
    assert split.train[0].raw.roi == Roi((80, 80, 80), (160, 160, 160))
    assert split.train[0].sample_points == [Coordinate(120, 120, 120)]
    assert split.validate[0].raw.voxel_size == Coordinate(45, 45, 45)
    assert one.raw_config.roi == Roi((8, 8, 8), (16, 16, 16))  # the config of the user is as it was


def test_integers_are_not_touched(tmp_path: Path) -> None:
    for part in ("raw", "gt"):
        stored(tmp_path / "in.zarr", part, (8, 8, 8), plain((4,) * 3, units=["nm"] * 3))
    config = dataset(tmp_path / "in.zarr")
    built = RawGTDataset(config)
    assert built.config is config
    assert "world_unit" not in copied(built.raw, tmp_path / "out.zarr").attrs


def test_units_that_differ_are_not_put_together(tmp_path: Path) -> None:
    stored(tmp_path / "in.zarr", "raw", (8, 8, 8), plain((4,) * 3, units=["nm"] * 3))
    stored(tmp_path / "in.zarr", "gt", (8, 8, 8), plain((4,) * 3, units=["um"] * 3))
    sources = {name: ZarrArrayConfig(name, tmp_path / "in.zarr", name) for name in ("raw", "gt")}
    with pytest.raises(ConfigError, match=r"voxel size .* is \(4, 4, 4\).* \(4000, 4000, 4000\)"):
        build(ConcatArrayConfig("both", list(sources), sources))
    stored(tmp_path / "in.zarr", "fine", (8, 8, 8), plain((4000,) * 3, units=["nm"] * 3))
    sources = {name: ZarrArrayConfig(name, tmp_path / "in.zarr", name) for name in ("fine", "gt")}
    both = build(ConcatArrayConfig("both", list(sources), sources))
    assert both.voxel_size == Coordinate(4000, 4000, 4000)


def test_a_unit_can_be_chosen(tmp_path: Path) -> None:
    stored(tmp_path / "in.zarr", "raw", (8, 8, 8), plain((4.5,) * 3, units=["nm"] * 3))
    array = open_(tmp_path / "in.zarr", "raw", world_unit="0.01 nm")
    assert array.voxel_size == Coordinate(450, 450, 450)
    halved = Coordinate(2, 2, 2), Coordinate(1, 1, 1), False
    assert build(ResampledArrayConfig("fine", array.config, *halved)).spacing == (2.25, 2.25, 2.25)
    default = open_(tmp_path / "in.zarr", "raw").config
    with pytest.raises(ConfigError, match=r"not an integer; .* or open the source with world_unit='1/20 nm'"):
        build(ResampledArrayConfig("fine", default, *halved))
    named = attrs.evolve(default, world_unit="1/20 nm")
    assert build(ResampledArrayConfig("fine", named, *halved)).spacing == (2.25, 2.25, 2.25)
    with pytest.raises(MetadataError, match="no integer numbers of 1 nm"):
        open_(tmp_path / "in.zarr", "raw", world_unit="1 nm")
    for text in ("nm", "3 nm", "0 nm", "1/0 nm"):
        with pytest.raises(ConfigError, match="is not a unit"):
            open_(tmp_path / "in.zarr", "raw", world_unit=text)


# Text


def test_regions_and_extents_in_lengths() -> None:
    world = World(("nm",) * 2, 100)
    assert placed_roi(parse_roi("[0:5.24nm,1um:1.5um]"), world) == Roi((0, 100_000), (524, 50_000))
    assert placed_roi(parse_roi("[0:524,0:1048]"), world) == Roi((0, 0), (524, 1048))
    assert placed_extent(parse_extent("[5.24nm,0.001um]"), world) == Coordinate(524, 100)
    with pytest.raises(RoiError, match="not on the voxel grid"):
        placed_roi(parse_roi("[0:5.2424nm,0:1nm]"), world)
    with pytest.raises(RoiError, match="2 spatial"):
        placed_roi(parse_roi("[0:5.24nm]"), world)
    with pytest.raises(RoiError, match="the unit of the array is unknown"):
        placed_roi(parse_roi("[0:5nm]"), World.unknown(1))
    with pytest.raises(RoiError, match="is empty"):
        placed_roi(parse_roi("[1um:5nm]"), World(("nm",)))
    assert placed_roi(parse_roi("[0:5px]"), World(("px",))) == Roi((0,), (5,))


def test_units_as_text() -> None:
    assert str(World(("nm",) * 3, 100)) == "0.01 nm"
    assert parse_world_unit("1/3 um")[1] == "um"
    assert World(("um",)).factor_to("0.01 nm") == Coordinate(100_000)
    with pytest.raises(ConfigError, match="larger"):
        World(("nm",), 100).factor_to("1 um")
