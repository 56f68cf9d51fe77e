"""The contract of arrays for each kind, and the laws of rois and of nesting."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import given
from hypothesis import strategies as st

from dacapo.errors import (
    ChannelMismatchError,
    ConfigError,
    DtypeError,
    MetadataError,
    MetadataWarning,
    ReadOnlyError,
    RoiError,
)
from dacapo.experiments.datasplits.datasets.arrays import (
    Array,
    ArrayConfig,
    BinarizeArrayConfig,
    ChannelArrayConfig,
    ConcatArrayConfig,
    CropArrayConfig,
    DummyArrayConfig,
    DVIDArray,
    IntensitiesArrayConfig,
    LogicalOrArrayConfig,
    MergeInstancesArrayConfig,
    MissingAnnotationsMaskConfig,
    NumpyArray,
    OnesArray,
    OnesArrayConfig,
    ResampledArrayConfig,
    SelectArrayConfig,
    SumArrayConfig,
    ZarrArray,
    ZarrArrayConfig,
    merge_instances_array,
)
from dacapo.experiments.datasplits.datasets.arrays.annotated_labels import AnnotatedLabels
from dacapo.experiments.datasplits.datasets.arrays.hdf5_array import HDF5Array
from dacapo.experiments.datasplits.datasets.arrays.image_stack_array import ImageStackArray
from dacapo.experiments.datasplits.datasets.arrays.memory_array import MemoryArray
from dacapo.experiments.datasplits.datasets.arrays.tiff_array import TiffArrayConfig
from dacapo.experiments.tasks.hot_distance_task import FirstChannels
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.converter import from_plain, to_plain
from dacapo.testing.array import ArrayContract, voxel_slices
from tests.helpers.arrays import build, given_array

GROUPS = [("one", [1]), ("some", [2, 3]), ("any", [])]

VIEWS = {
    "binarize": BinarizeArrayConfig("v", given_array(), GROUPS),
    "binarize_2d": BinarizeArrayConfig("v", given_array((8, 10), "yx"), GROUPS),
    "binarize_one_channel_last": BinarizeArrayConfig("v", given_array((6, 8, 10, 1), "zyxc"), GROUPS),
    "select_plane": SelectArrayConfig("v", given_array(), {"z": -1}),
    "select_time": SelectArrayConfig("v", given_array((3, 2, 6, 8), "tcyx"), {"t": 1}),
    "select_channel": SelectArrayConfig("v", given_array((3, 6, 8, 10), "czyx"), {"c": 2}),
    "channel": ChannelArrayConfig("v", given_array((3, 6, 8, 10), "czyx"), 1),
    "channel_last": ChannelArrayConfig("v", given_array((8, 10, 2), "yxc"), 0),
    "concat": ConcatArrayConfig("v", ["a", "b", "c"], {"c": given_array(), "a": given_array(seed=1)}),
    "concat_default": ConcatArrayConfig("v", ["a", "b"], {"a": given_array(dtype=np.uint16)}, given_array(seed=1)),
    "crop": CropArrayConfig("v", given_array(), Roi((20, 24, 12), (24, 20, 24))),
    "crop_channels_last": CropArrayConfig("v", given_array((8, 10, 2), "yxc"), Roi((24, 12), (20, 24))),
    "intensities": IntensitiesArrayConfig("v", given_array((2, 6, 8, 10), "czyx"), 1, 4),
    "logical_or": LogicalOrArrayConfig("v", given_array((2, 6, 8, 10), "czyx", high=2)),
    "logical_or_channels_last": LogicalOrArrayConfig("v", given_array((8, 10, 3), "yxc", high=2)),
    "missing": MissingAnnotationsMaskConfig("v", given_array(), GROUPS),
    "ones": OnesArrayConfig("v", given_array((6, 8, 10, 3), "zyxc")),
    "sum": SumArrayConfig("v", [given_array(), given_array(seed=1, dtype=np.int32)]),
    "sum_channels": SumArrayConfig("v", [given_array((2, 8, 10), "cyx"), given_array((2, 8, 10), "cyx", seed=1)]),
    "nearest_up": ResampledArrayConfig("v", given_array(), Coordinate(2, 2, 4), Coordinate(0, 0, 0), False),
    "nearest_down": ResampledArrayConfig(
        "v", given_array((9, 12, 13, 2), "zyxc"), Coordinate(0, 0, 0), Coordinate(2, 3, 1), False
    ),
    "nearest_both": ResampledArrayConfig("v", given_array((8, 10), "yx"), Coordinate(2, 1), Coordinate(3, 2), False),
    "nested": LogicalOrArrayConfig(
        "v",
        BinarizeArrayConfig(
            "b",
            CropArrayConfig(
                "c",
                ResampledArrayConfig("r", given_array(), Coordinate(0, 2, 2), Coordinate(0, 0, 0), False),
                Roi((20, 24, 12), (24, 20, 24)),
            ),
            GROUPS[:2],
        ),
    ),
}


@pytest.mark.parametrize("config", VIEWS.values(), ids=VIEWS)
class TestViews(ArrayContract):
    @pytest.fixture
    def array(self, config: ArrayConfig) -> Array:
        return build(config)


DEPENDENT = {
    "merge": MergeInstancesArrayConfig("v", [given_array(dtype=np.uint64), given_array(seed=1, dtype=np.uint64)]),
    "linear_up": ResampledArrayConfig(
        "v", given_array(dtype=np.float32), Coordinate(2, 2, 2), Coordinate(0, 0, 0), True
    ),
    "linear_down": ResampledArrayConfig(
        "v", given_array((2, 9, 12, 13), "czyx", high=256), Coordinate(0, 0, 0), Coordinate(1, 2, 3), True
    ),
}


@pytest.mark.parametrize("config", DEPENDENT.values(), ids=DEPENDENT)
class TestViewsThatDependOnTheRoi(ArrayContract):
    independent_of_roi = False

    @pytest.fixture
    def array(self, config: ArrayConfig) -> Array:
        return build(config)


class TestNumpy(ArrayContract):
    @pytest.fixture(params=["zyx", "czyx", "bczyx", "yxc"])
    def array(self, request: pytest.FixtureRequest) -> Array:
        config = given_array(tuple({"b": 1, "c": 2, "z": 3, "y": 4, "x": 5}[a] for a in request.param), request.param)
        return NumpyArray.from_np_array(config.values, config.roi, config.voxel_size, config.axes)


class TestDummy(ArrayContract):
    @pytest.fixture
    def array(self) -> Array:
        return build(DummyArrayConfig("dummy"))


class TestZarr(ArrayContract):
    @pytest.fixture(params=["zyx", "czyx", "yx", "cyx", "yxc"])
    def array(self, request: pytest.FixtureRequest, tmp_path: Path) -> Array:
        axes = request.param
        dims = len(axes.replace("c", ""))
        config = given_array((7, 8, 9)[:dims], axes.replace("c", ""))
        array = ZarrArray.create_from_array_identifier(
            LocalArrayIdentifier(tmp_path / "a.zarr", "volumes/raw"),
            list(axes),
            config.roi,
            2 if "c" in axes else None,
            config.voxel_size,
            np.uint8,
            write_size=config.voxel_size * 3,
        )
        array[array.roi] = np.random.default_rng(0).integers(0, 255, array.data.shape)
        return array


class TestZarrReadOnly(ArrayContract):
    @pytest.fixture
    def array(self, tmp_path: Path) -> Array:
        identifier = LocalArrayIdentifier(tmp_path / "a.zarr", "raw")
        written = ZarrArray.create_from_array_identifier(
            identifier, ["y", "x"], Roi((4, 8), (40, 40)), None, Coordinate(4, 4), np.float32
        )
        written[written.roi] = np.random.default_rng(0).random((10, 10))
        return ZarrArray(ZarrArrayConfig("a", tmp_path / "a.zarr", "raw", mode="r"))


class TestTiff(ArrayContract):
    @pytest.fixture(params=[None, "zlib"])
    def array(self, request: pytest.FixtureRequest, tmp_path: Path) -> Array:
        import tifffile

        values = np.random.default_rng(0).integers(0, 255, (5, 6, 7)).astype(np.uint8)
        tifffile.imwrite(tmp_path / "a.tif", values, compression=request.param, photometric="minisblack")
        return build(
            TiffArrayConfig("a", tmp_path / "a.tif", Coordinate(4, 8, 8), Coordinate(4, 2, 2), ["z", "y", "x"])
        )


class TestFirstChannels(ArrayContract):
    @pytest.fixture(params=["czyx", "yxc"])
    def array(self, request: pytest.FixtureRequest) -> Array:
        axes = request.param
        return FirstChannels(build(given_array((4, 5, 6, 7)[: len(axes)], axes)), 2)


def test_every_kind_of_array_keeps_the_contract() -> None:
    def kinds(cls: type[Array]) -> set[type[Array]]:
        below = {kind for sub in cls.__subclasses__() for kind in kinds(sub)}
        return below | ({cls} if not inspect.isabstract(cls) and cls.__module__.startswith("dacapo.") else set())

    tested = {config.array_type for config in (*VIEWS.values(), *DEPENDENT.values())}
    elsewhere = {DVIDArray, HDF5Array, ImageStackArray, MemoryArray}
    others = {NumpyArray, DummyArrayConfig.array_type, ZarrArray, TiffArrayConfig.array_type, FirstChannels, *elsewhere}
    assert kinds(Array) - {AnnotatedLabels} == tested | others  # labels in memory, a NumpyArray but for one attribute


# Rois


@st.composite
def parts(draw: st.DrawFn, roi: Roi, voxel_size: Coordinate) -> Roi:
    begin, end = [], []
    for n in roi.shape / voxel_size:
        b = draw(st.integers(0, n - 1))
        begin.append(b)
        end.append(draw(st.integers(b + 1, n)))
    offset = roi.offset + Coordinate(begin) * voxel_size
    return Roi(offset, (Coordinate(end) - Coordinate(begin)) * voxel_size)


@given(st.data(), st.sampled_from(["zyx", "czyx", "zyxc", "yx", "cyx"]))
def test_any_part_is_a_slice_of_the_whole(data: st.DataObject, axes: str) -> None:
    sizes = {"c": 2, "z": 4, "y": 5, "x": 6}
    dims = len(axes.replace("c", ""))
    voxel_size = Coordinate(data.draw(st.lists(st.integers(1, 9), min_size=dims, max_size=dims)))
    offset = Coordinate(data.draw(st.lists(st.integers(-50, 50), min_size=dims, max_size=dims)))
    config = given_array(tuple(sizes[a] for a in axes), axes, high=200, offset=offset, voxel_size=voxel_size)
    array = build(config)
    roi = data.draw(parts(array.roi, voxel_size))
    np.testing.assert_array_equal(array[roi], config.values[voxel_slices(array, roi)])


@given(st.data())
def test_a_crop_of_a_crop_is_the_crop_of_their_common_roi(data: st.DataObject) -> None:
    source = given_array()
    outer = data.draw(parts(source.roi, source.voxel_size))
    inner = data.draw(parts(source.roi, source.voxel_size))
    if outer.intersect(inner).empty:
        with pytest.raises(RoiError, match="does not overlap"):
            build(CropArrayConfig("inner", CropArrayConfig("outer", source, outer), inner))
        return
    nested = build(CropArrayConfig("inner", CropArrayConfig("outer", source, outer), inner))
    direct = build(CropArrayConfig("direct", source, outer.intersect(inner)))
    assert nested.roi == direct.roi == outer.intersect(inner)
    np.testing.assert_array_equal(nested[nested.roi], direct[direct.roi])


@given(st.data())
def test_binarize_of_a_crop_is_the_crop_of_binarize(data: st.DataObject) -> None:
    source = given_array()
    roi = data.draw(parts(source.roi, source.voxel_size))
    one = build(BinarizeArrayConfig("b", CropArrayConfig("c", source, roi), GROUPS))
    other = build(CropArrayConfig("c", BinarizeArrayConfig("b", source, GROUPS), roi))
    np.testing.assert_array_equal(one[roi], other[roi])
    assert one.channels == other.channels == ["one", "some", "any"]


def test_an_empty_roi_reads_nothing() -> None:
    array = build(given_array())
    assert array[Roi(array.roi.offset, (0, 8, 4))].shape == (0, 2, 1)


# Reading no more than asked for


# Without a source of their own, or with other axes than it.
NOT_READ_ALIKE = ("ones", "nested", "select_plane", "select_time")


@pytest.mark.parametrize("name", [name for name in (*VIEWS, *DEPENDENT) if name not in NOT_READ_ALIKE])
def test_building_reads_nothing_and_reading_no_more_than_the_roi(name: str) -> None:
    # Configs hold the values, so the copies in one config share their record of rois.
    config = {**VIEWS, **DEPENDENT}[name]
    sources = [
        value
        for key in ("source_array_config", "source_array_configs", "default_config")
        for value in _as_list(getattr(config, key, None))
    ]
    for source in sources:
        source.asked.clear()
    array = build(config)
    _ = (array.roi, array.axes, array.dtype, array.voxel_size, array.attrs, array.dims)
    assert all(source.asked == [] for source in sources)
    roi = Roi(array.roi.offset, array.voxel_size)
    array[roi]
    for source in sources:
        assert len(source.asked) == 1
        asked = source.asked[0]
        grown = roi.grow(source.voxel_size, source.voxel_size)
        assert grown.contains(asked), "more was read than the roi and the source voxels it touches"


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]


def test_ones_never_read_their_source() -> None:
    source = given_array()
    array = build(OnesArrayConfig("ones", source))
    assert array[array.roi].all()
    assert array.data.all()
    assert source.asked == []


# What views refuse


def test_sources_need_the_same_voxel_size() -> None:
    configs = [given_array(), given_array(voxel_size=(8, 8, 8))]
    with pytest.raises(ConfigError, match=r"\(8, 4, 4\).*\(8, 8, 8\)"):
        build(SumArrayConfig("s", configs))


def test_sources_need_the_same_grid() -> None:
    with pytest.raises(ConfigError, match=r"not an integer number of voxels"):
        build(SumArrayConfig("s", [given_array(), given_array(offset=(13, 20, 8))]))


def test_sources_need_the_same_spatial_axes() -> None:
    with pytest.raises(ConfigError, match="same spatial axes"):
        build(MergeInstancesArrayConfig("m", [given_array(), given_array((8, 10), "yx")]))


def test_sources_need_a_common_region() -> None:
    with pytest.raises(RoiError, match="no region in common"):
        build(SumArrayConfig("s", [given_array(), given_array(offset=(12, 20, 4008))]))


def test_views_need_a_source() -> None:
    with pytest.raises(ConfigError, match="no source"):
        build(SumArrayConfig("s", []))


def test_summed_sources_need_equal_channels() -> None:
    with pytest.raises(ConfigError, match="they must be equal"):
        build(SumArrayConfig("s", [given_array((2, 8, 10), "cyx"), given_array((3, 8, 10), "cyx")]))
    with pytest.raises(ConfigError, match="they must be equal"):
        build(SumArrayConfig("s", [given_array((2, 8, 10), "cyx"), given_array((8, 10), "yx")]))


def test_a_sum_does_not_overflow() -> None:
    full = given_array(dtype=np.uint8)
    full.values[:] = 255
    array = build(SumArrayConfig("s", [full, full, full]))
    assert set(np.unique(array[array.roi])) == {765}


def test_a_sum_of_floats_stays_float() -> None:
    array = build(SumArrayConfig("s", [given_array(dtype=np.float32), given_array()]))
    assert array.dtype == array[array.roi].dtype == np.float32


@pytest.mark.parametrize("config", [BinarizeArrayConfig, MissingAnnotationsMaskConfig])
def test_groups_need_a_source_without_channels(config: type[ArrayConfig]) -> None:
    with pytest.raises(ConfigError, match="3 channels"):
        build(config("b", given_array((3, 8, 10), "cyx"), GROUPS))
    with pytest.raises(ConfigError, match="at least one"):
        build(config("b", given_array(), []))
    with pytest.raises(ConfigError, match="may occur once"):
        build(config("b", given_array(), [("a", [1]), ("a", [2])]))


def test_labels_are_whole_numbers() -> None:
    with pytest.raises(ConfigError, match="float32"):
        build(BinarizeArrayConfig("b", given_array(dtype=np.float32), GROUPS))
    with pytest.raises(DtypeError, match="float32"):
        build(MergeInstancesArrayConfig("m", [given_array(dtype=np.float32)]))


def test_binarize_of_large_ids() -> None:
    source = given_array(dtype=np.uint64)
    source.values[0, 0, :3] = [2**63 + 1, 2**63, 2**53 + 1]
    array = build(BinarizeArrayConfig("b", source, [("a", [2**63 + 1]), ("b", [2**53])]))
    assert array[array.roi][0].sum() == 1
    assert array[array.roi][1].sum() == 0


def test_merged_ids_exceed_the_type_of_their_sources() -> None:
    one, two = given_array(dtype=np.uint8), given_array(dtype=np.uint8)
    one.values[:] = 0
    one.values[0] = 200
    two.values[:] = 0
    two.values[1] = 100
    array = build(MergeInstancesArrayConfig("m", [one, two]))
    assert set(np.unique(array[array.roi])) == {0, 200, 300}


@pytest.mark.parametrize("wrapped", [False, True])
def test_labels_can_be_fixed(wrapped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = given_array(dtype=np.uint8), given_array(dtype=np.uint8)
    one.values[:], two.values[:] = 0, 7
    one.values[0, 0] = 200
    config: ArrayConfig = MergeInstancesArrayConfig("m", [one, two])
    array = build(CropArrayConfig("c", config, one.roi) if wrapped else config)
    last = Roi(array.roi.end - array.voxel_size, array.voxel_size)
    whole = array[array.roi]
    assert array[last].item() == 7
    monkeypatch.setattr(merge_instances_array, "_EDGE", 1)
    array.fix_labels()
    np.testing.assert_array_equal(array[array.roi], whole)
    assert array[last].item() == whole.flat[-1] == 207


@pytest.mark.parametrize(
    ("shape", "axes", "channel"), [((2, 4, 5), "cyx", 2), ((2, 4, 5), "cyx", -1), ((4, 5), "yx", 0)]
)
def test_a_channel_that_is_not_there(shape: tuple[int, ...], axes: str, channel: int) -> None:
    with pytest.raises(ChannelMismatchError, match=f"{channel} is not a channel of "):
        build(ChannelArrayConfig("v", given_array(shape, axes), channel))


def test_a_channel_is_that_of_its_number() -> None:
    source = given_array((3, 4, 5), "cyx")
    array = build(ChannelArrayConfig("v", source, 2))
    assert (array.axes, array.num_channels) == (["y", "x"], None)
    np.testing.assert_array_equal(array[array.roi], source.values[2])


def test_a_concatenated_source_needs_a_channel() -> None:
    with pytest.raises(ConfigError, match="mitto"):
        build(ConcatArrayConfig("c", ["mito"], {"mitto": given_array()}))


def test_concat_keeps_labels_whole() -> None:
    with pytest.raises(DtypeError, match=r"uint64.*int64|int64.*uint64"):
        build(ConcatArrayConfig("c", ["a", "b"], {"a": given_array(dtype=np.uint64), "b": given_array(dtype=np.int64)}))


def test_concat_of_default_alone() -> None:
    source = given_array()
    array = build(ConcatArrayConfig("c", ["a", "b"], {}, source))
    np.testing.assert_array_equal(array[array.roi], np.stack([source.values] * 2))


def test_concat_gives_its_sources() -> None:
    array = build(VIEWS["concat"])
    assert sorted(array.source_arrays) == ["a", "c"]
    assert array.source_array in array.source_arrays.values()
    np.testing.assert_array_equal(array[array.roi][2], given_array().values)
    assert not array[array.roi][1].any()


@pytest.mark.parametrize(
    ("roi", "message"),
    [
        (Roi((1000, 0, 0), (8, 4, 4)), "does not overlap"),
        (Roi((20, 24), (8, 4)), "2 dimensions"),
        (Roi((21, 24, 12), (8, 4, 4)), "not aligned"),
    ],
)
def test_crop_refuses(roi: Roi, message: str) -> None:
    with pytest.raises(RoiError, match=message):
        build(CropArrayConfig("c", given_array(), roi))


def test_crop_knows_no_channel_names_of_a_plain_source() -> None:
    assert build(VIEWS["crop"]).channels is None


def test_intensities_need_a_range() -> None:
    with pytest.raises(ConfigError, match="max must be above min"):
        build(IntensitiesArrayConfig("i", given_array(), 5, 5))


def test_intensities_do_not_clip() -> None:
    array = build(IntensitiesArrayConfig("i", given_array(high=11), 2, 4))
    values = array[array.roi]
    assert values.min() == -1
    assert values.max() == 4


def annotated(**states: tuple[Any, Any]) -> dict[str, Any]:
    return {
        "labels": [
            {"value": int(key[1:]), "annotationState": {"present": present, "annotated": annotated}}
            for key, (present, annotated) in states.items()
        ]
    }


def test_a_class_that_was_not_annotated_is_masked() -> None:
    source = given_array(attributes=annotated(_1=(True, False), _2=(True, True), _3=(False, False)))
    array = build(MissingAnnotationsMaskConfig("m", source, [("a", [1]), ("b", [2, 3]), ("c", [2, 1])]))
    values = array[array.roi]
    assert not values[0].any()
    np.testing.assert_array_equal(values[1], source.values > 0)
    assert not values[2].any()


@pytest.mark.parametrize("labels", [["mito"], [{"value": 1}], [{"annotationState": {}}]])
def test_annotations_that_cannot_be_understood(labels: list[Any]) -> None:
    with pytest.raises(MetadataError, match="'labels'"):
        build(MissingAnnotationsMaskConfig("m", given_array(attributes={"labels": labels}), GROUPS))


def test_attributes_come_from_a_single_source() -> None:
    source = given_array(attributes={"x": 1})
    assert build(CropArrayConfig("c", source, source.roi)).attrs == {"x": 1}
    assert build(SumArrayConfig("s", [source, source])).attrs == {}


def test_ones_like_an_array() -> None:
    source = build(given_array((2, 8, 10), "cyx"))
    ones = OnesArray.like(source)
    assert ones.source_array is source
    assert ones.num_channels == 2
    assert ones.attrs == {}


# NumpyArray


def test_numpy_array_as_documented() -> None:
    array = NumpyArray.from_np_array(
        np.zeros((2, 3, 4)), Roi((0, 0, 0), (2, 3, 4)), Coordinate((1, 1, 1)), ["z", "y", "x"]
    )
    assert array.attrs == {}
    assert array.axes == ["z", "y", "x"]
    assert array.dims == 3
    assert array.voxel_size == Coordinate(1, 1, 1)
    assert array.roi == Roi((0, 0, 0), (2, 3, 4))
    assert array.writable is True
    assert array.dtype == np.float64
    assert array.data.shape == (2, 3, 4)
    with pytest.raises(ValueError, match="channel dimension"):
        _ = array.num_channels


def test_numpy_array_counts_channels_where_they_are() -> None:
    data = np.zeros((3, 2, 4))
    roi, size = Roi((0, 0), (3, 2)), Coordinate(1, 1)
    assert NumpyArray.from_np_array(data, roi, size, ["y", "x", "c"]).num_channels == 4


def test_numpy_array_shares_memory() -> None:
    data = np.zeros((2, 2))
    array = NumpyArray.from_np_array(data, Roi((0, 0), (4, 4)), Coordinate(2, 2), ["y", "x"])
    array[Roi((2, 0), (2, 2))] = 7
    assert data.tolist() == [[0, 0], [7, 0]]


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((2, 3, 4), "zyx"), ((5, 2, 3, 4), "czyx"), ((1, 5, 2, 3, 4), "bczyx"), ((3, 4), "yx"), ((5, 3, 4), "cyx")],
)
def test_numpy_array_from_gunpowder(shape: tuple[int, ...], axes: str) -> None:
    import gunpowder as gp

    dims = len(axes.replace("b", "").replace("c", ""))
    size = Coordinate((4, 2, 2)[-dims:])
    roi = Roi((8, 8, 8)[-dims:], Coordinate(shape[-dims:]) * size)
    data = np.arange(np.prod(shape)).reshape(shape)
    array = NumpyArray.from_gp_array(gp.Array(data, gp.ArraySpec(roi=roi, voxel_size=size)))
    assert array.axes == list(axes)
    assert array.roi == roi
    assert array.voxel_size == size
    np.testing.assert_array_equal(array[roi], data)


def test_numpy_array_from_gunpowder_with_too_many_axes() -> None:
    import gunpowder as gp

    spec = gp.ArraySpec(roi=Roi((0,), (2,)), voxel_size=Coordinate((1,)))
    with pytest.raises(MetadataError, match="no known axes"):
        NumpyArray.from_gp_array(gp.Array(np.zeros((1, 1, 1, 2)), spec))


@pytest.mark.parametrize(
    ("shape", "roi", "size", "axes"),
    [
        ((2, 3), Roi((0, 0), (2, 3)), (1, 1), ["x"]),
        ((2, 3), Roi((0, 0, 0), (1, 2, 3)), (1, 1), ["y", "x"]),
        ((2, 3), Roi((0, 0), (2, 3)), (1, 1, 1), ["y", "x"]),
        ((2, 3), Roi((0, 0), (2, 3)), (2, 1), ["y", "x"]),
    ],
)
def test_numpy_array_refuses_what_does_not_fit(shape: Any, roi: Roi, size: Any, axes: list[str]) -> None:
    with pytest.raises(MetadataError):
        NumpyArray.from_np_array(np.zeros(shape), roi, Coordinate(size), axes)


def test_numpy_array_refuses_what_has_no_type_or_axes() -> None:
    roi, size = Roi((0,), (2,)), Coordinate((1,))
    with pytest.raises(MetadataError, match=r"list as values.*np\.asarray"):
        NumpyArray.from_np_array([1.0, 2.0], roi, size, ["x"])  # type: ignore[arg-type]
    with pytest.raises(MetadataError, match="name each of them"):
        NumpyArray.from_np_array(np.zeros(2), roi, size, None)  # type: ignore[arg-type]
    with pytest.raises(MetadataError, match="spatial"):
        NumpyArray.from_np_array(np.zeros(2), Roi((), ()), Coordinate(()), ["c"])


def test_numpy_array_from_gunpowder_without_type_or_place() -> None:
    import gunpowder as gp

    array = gp.Array(np.zeros(1), gp.ArraySpec(roi=Roi((0,), (1,)), voxel_size=Coordinate((1,))))
    for data, problem in (([1.0], "list as values"), (np.array([None]), "Python objects")):
        array.data = data
        with pytest.raises(MetadataError, match=problem):
            NumpyArray.from_gp_array(array)
    for spec in (None, gp.ArraySpec(), gp.ArraySpec(roi=Roi((0,), (1,)))):
        array.data, array.spec = np.zeros(1), spec
        with pytest.raises(MetadataError, match="expected one with a roi and a voxel size"):
            NumpyArray.from_gp_array(array)


def test_numpy_array_adds_axes_in_front_that_have_a_name_only() -> None:
    data = np.arange(24).reshape(2, 3, 4)
    with pytest.warns(MetadataWarning, match=r"shape \(1, 1, 2, 3, 4\)"):
        array = NumpyArray.from_np_array(data, Roi((0, 0, 0), (4, 6, 8)), Coordinate(2, 2, 2), [*"bczyx"])
    assert (array.num_channels, array.axes, array.dims) == (1, [*"bczyx"], 3)
    np.testing.assert_array_equal(array[Roi((2, 0, 0), (2, 6, 8))], data[None, None, 1:])
    array[Roi((0, 0, 0), (2, 2, 2))] = -1
    assert data[0, 0, 0] == -1


def test_numpy_array_adds_no_axes_of_space() -> None:
    with pytest.raises(MetadataError, match="4 axes"):
        NumpyArray.from_np_array(np.zeros((2, 3)), Roi((0, 0, 0), (1, 2, 3)), Coordinate(1, 1, 1), [*"czyx"])
    with pytest.warns(MetadataWarning), pytest.raises(MetadataError, match="covers"):
        NumpyArray.from_np_array(np.zeros((2, 3)), Roi((0, 0), (9, 3)), Coordinate(1, 1), [*"cyx"])


def test_numpy_array_of_read_only_values() -> None:
    data = np.broadcast_to(np.zeros(1), (4,))
    array = NumpyArray.from_np_array(data, Roi((0,), (4,)), Coordinate((1,)), ["x"])
    assert array.writable is False
    with pytest.raises(ReadOnlyError, match="wrap a copy"):
        array[array.roi] = 1


def test_numpy_array_has_no_config() -> None:
    with pytest.raises(TypeError, match="from_np_array"):
        NumpyArray(DummyArrayConfig("a"))


# Dummies, configs


def test_dummy_array_holds_zeros() -> None:
    array = build(DummyArrayConfig("a"))
    assert array.data.shape == (100, 50, 50)
    assert not array.data.any()
    array[Roi((0, 0, 0), (1, 2, 2))] = 1
    assert array.data.sum() == 1
    assert not build(DummyArrayConfig("a")).data.any()


def test_dummy_config_is_never_valid() -> None:
    valid, reason = DummyArrayConfig("a").verify()
    assert valid is False
    assert "never valid" in reason


def test_verify_says_what_is_wrong_in_a_source(tmp_path: Path) -> None:
    config = CropArrayConfig("crop", ZarrArrayConfig("z", tmp_path / "none.zarr", "raw"), Roi((0, 0), (1, 1)))
    valid, reason = config.verify()
    assert valid is False
    assert "none.zarr does not exist" in reason


def test_verify_is_content_with_what_can_be_built() -> None:
    assert VIEWS["nested"].verify()[0] is True


PLAIN = [
    ZarrArrayConfig("z", Path("a.zarr"), "raw", Coordinate(8, 8, 8), axes=["z", "y", "x"], mode="r"),
    ResampledArrayConfig("r", DummyArrayConfig("d"), Coordinate(2, 2, 2), Coordinate(0, 0, 0), True),
    CropArrayConfig("c", DummyArrayConfig("d"), Roi((0, 8, 4), (8, 4, 4))),
    BinarizeArrayConfig("b", DummyArrayConfig("d"), GROUPS, 3),
    ConcatArrayConfig("c", ["a"], {"a": DummyArrayConfig("d")}),
    SumArrayConfig("s", [DummyArrayConfig("d"), DummyArrayConfig("e")]),
    MergeInstancesArrayConfig("m", [DummyArrayConfig("d")]),
    MissingAnnotationsMaskConfig("m", DummyArrayConfig("d"), GROUPS),
    IntensitiesArrayConfig("i", DummyArrayConfig("d"), 0.0, 1.0),
    TiffArrayConfig("t", Path("a.tif"), Coordinate(0, 0), Coordinate(1, 1), ["y", "x"]),
]


@pytest.mark.parametrize("config", PLAIN, ids=lambda config: type(config).__name__)
def test_configs_survive_a_file(config: ArrayConfig) -> None:
    assert from_plain(to_plain(config), ArrayConfig) == config


@pytest.mark.parametrize(
    ("index", "axes", "expected"),
    [
        ({"t": 1, "c": -1}, ["z", "y"], (1, 1)),
        ({"t": -3}, ["c", "z", "y"], (0,)),
        ({"t": 2, "z": 3}, ["c", "y"], (2, slice(None), 3)),
    ],
)
def test_selected_positions_are_those_of_the_data(index: dict[str, int], axes: list[str], expected: Any) -> None:
    source = given_array((3, 2, 4, 5), "tczy")
    values, selected = build(source), build(SelectArrayConfig("v", source, index))
    assert selected.axes == axes
    whole = values[values.roi]
    source.asked.clear()
    np.testing.assert_array_equal(selected[selected.roi], whole[expected])
    read = source.asked[0].shape / values.voxel_size
    assert all(read[values.axes.index(axis) - (axis != "t")] == 1 for axis in index if axis != "c")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"u": 0}, r"has no axis u; its axes are \['t', 'c', 'y'\]"),
        ({"t": 3}, "t is 3, but the axis t of .* has 3 entries"),
        ({"c": -3}, "c is -3, but the axis c of .* has 2 entries"),
        ({"t": 0, "y": 0}, "no spatial axis of .* is left"),
    ],
)
def test_positions_that_do_not_exist_are_refused(index: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(SelectArrayConfig("v", given_array((3, 2, 5), "tcy"), index))


def test_a_channel_of_an_array_without_any_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"c is 0, but the axis c of .* has 0 entries"):
        build(SelectArrayConfig("v", given_array((0, 4, 5), "cyx"), {"c": 0}))
