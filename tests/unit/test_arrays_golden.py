"""Arrays against values recorded from the original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.datasplits.datasets.arrays import (
    Array,
    ArrayConfig,
    BinarizeArrayConfig,
    ConcatArrayConfig,
    CropArrayConfig,
    IntensitiesArrayConfig,
    LogicalOrArrayConfig,
    MergeInstancesArrayConfig,
    MissingAnnotationsMaskConfig,
    NumpyArray,
    OnesArray,
    OnesArrayConfig,
    ResampledArrayConfig,
    SumArrayConfig,
    ZarrArrayConfig,
)
from tests.helpers import golden_data

CASE = "arrays"
ITEMS = golden_data.items(CASE)
SOURCES = golden_data.load_json(CASE)["sources"]


def source_values(name: str) -> np.ndarray:
    return golden_data.load_arrays(CASE)[SOURCES[name]["array"]]


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All sources in one Zarr container."""
    path = tmp_path_factory.mktemp("golden") / "sources.zarr"
    group = zarr.open_group(str(path), mode="w")
    for name, source in SOURCES.items():
        dataset = group.create_dataset(name, data=source_values(name), chunks=8)
        dataset.attrs.update(
            {
                "resolution": source["voxel_size"],
                "offset": source["offset"],
                "axes": source["axes"],
                **source["attributes"],
            }
        )
    return path


def as_roi(value: dict[str, Any]) -> Roi:
    return Roi(value["offset"], value["shape"])


def groupings(item: dict[str, Any]) -> list[tuple[str, list[int]]]:
    return [(name, ids) for name, ids in item["parameters"]["groupings"]]


def make(item: dict[str, Any], container: Path) -> Array:
    """Build the array that an item describes."""

    def stored(name: str) -> ZarrArrayConfig:
        return ZarrArrayConfig(name, container, name)

    names, parameters = item["sources"], item["parameters"]
    if item["about"].startswith("NumpyArray"):
        source = SOURCES[names[0]]
        values = source_values(names[0])
        size = Coordinate(source["voxel_size"])
        return NumpyArray.from_np_array(
            values, Roi(source["offset"], size * Coordinate(values.shape[1:])), size, source["axes"]
        )
    if item["about"].startswith("OnesArray.like"):
        config = stored(names[0])
        return OnesArray.like(config.array_type(config))
    kind = item["config"]
    config: ArrayConfig
    if kind == "ZarrArrayConfig":
        config = ZarrArrayConfig("a", container, names[0], snap_to_grid=parameters.get("snap_to_grid"))
    elif kind == "ConcatArrayConfig":
        default = parameters.get("default")
        config = ConcatArrayConfig(
            "a",
            parameters["channels"],
            {channel: stored(name) for channel, name in names.items()},
            None if default is None else stored(default),
        )
    elif kind in ("MergeInstancesArrayConfig", "SumArrayConfig"):
        cls = MergeInstancesArrayConfig if kind.startswith("Merge") else SumArrayConfig
        config = cls("a", [stored(name) for name in names])
    elif isinstance(names, dict):
        inner = BinarizeArrayConfig("b", stored(names["BinarizeArray"]), groupings(item))
        config = LogicalOrArrayConfig("a", inner)
    else:
        config = single(kind, stored(names[0]), item)
    return config.array_type(config)


def single(kind: str, source: ArrayConfig, item: dict[str, Any]) -> ArrayConfig:
    parameters = item["parameters"]
    if kind == "BinarizeArrayConfig":
        return BinarizeArrayConfig("a", source, groupings(item), parameters["background"])
    if kind == "CropArrayConfig":
        return CropArrayConfig("a", source, as_roi(parameters["roi"]))
    if kind == "IntensitiesArrayConfig":
        return IntensitiesArrayConfig("a", source, parameters["min"], parameters["max"])
    if kind == "LogicalOrArrayConfig":
        return LogicalOrArrayConfig("a", source)
    if kind == "MissingAnnotationsMaskConfig":
        return MissingAnnotationsMaskConfig("a", source, groupings(item))
    if kind == "OnesArrayConfig":
        return OnesArrayConfig("a", source)
    assert kind == "ResampledArrayConfig"
    return ResampledArrayConfig(
        "a",
        source,
        Coordinate(parameters["upsample"]),
        Coordinate(parameters["downsample"]),
        bool(parameters["interp_order"]),
    )


# Where the recorded description is wrong, what is right:
# a sum of uint8 is read as uint64, and keeps the channels of its sources; so does a merge of uint64 labels, and a mask
# of missing annotations is read as bool. Sources with different rois are known where all of them are.
COMMON = {"offset": [40, 40, 40], "shape": [112, 144, 144]}
RIGHT: dict[str, dict[str, Any]] = {
    "concat_rois_differ": {"roi": COMMON},
    "merge_instances": {"dtype": "uint64"},
    "merge_instances_empty_middle": {"dtype": "uint64"},
    "merge_instances_overlap": {"dtype": "uint64", "roi": COMMON},
    "sum": {"dtype": "uint64"},
    "sum_channels": {"dtype": "uint64", "axes": ["c", "z", "y", "x"], "num_channels": 3},
    "missing_annotations": {"dtype": "bool"},
    "missing_annotations_no_attribute": {"dtype": "bool"},
}
# Recorded values that are wrong; each has its own test below.
WRONG_VALUES = {"binarize_twice", "logical_or_no_channels", "merge_instances_empty_middle", "merge_instances_overlap"}


# The recorded data of a snapped array moved with its corner; a warning tells.
pytestmark = pytest.mark.filterwarnings("ignore:.*snap_to_grid:dacapo.errors.MetadataWarning")


@pytest.mark.parametrize("name", ITEMS)
def test_describes_itself_as_recorded(name: str, container: Path) -> None:
    item = {**ITEMS[name], **RIGHT.get(name, {})}
    array = make(item, container)
    assert array.roi == as_roi(item["roi"])
    assert array.voxel_size == Coordinate(item["voxel_size"])
    assert array.axes == item["axes"]
    assert array.dims == item["dims"]
    assert array.dtype == np.dtype(item["dtype"])
    assert array.writable is item["writable"]
    assert (array.num_channels if "c" in array.axes else None) == item["num_channels"]
    if "channels" in item:
        assert array.channels == item["channels"]


@pytest.mark.parametrize("name", [name for name in ITEMS if name not in WRONG_VALUES])
def test_values_are_as_recorded(name: str, container: Path) -> None:
    item = ITEMS[name]
    array = make(item, container)
    recorded = golden_data.item_arrays(CASE, name)
    assert recorded
    for key, expected in recorded.items():
        values = array[as_roi(item["rois"][key])]
        assert values.dtype == expected.dtype
        if item["config"] == "IntensitiesArrayConfig" or item["parameters"].get("interp_order"):
            whole_numbers = expected.dtype.kind in "iu"
            # The original cut off fractions where we round.
            np.testing.assert_allclose(
                values.astype(float), expected.astype(float), rtol=1e-5, atol=1 if whole_numbers else 1e-6
            )
        else:
            np.testing.assert_array_equal(values, expected)


def test_an_id_listed_twice_counts_once(container: Path) -> None:
    # The original added up the masks of the listed ids, so that a mask held the value 2.
    array = make(ITEMS["binarize_twice"], container)
    recorded = golden_data.item_arrays(CASE, "binarize_twice")["whole"]
    np.testing.assert_array_equal(array[array.roi], recorded > 0)
    assert recorded.max() == 2


def test_logical_or_without_channels_is_a_mask(container: Path) -> None:
    # The original returned the labels of the source where it had no channel axis to reduce.
    array = make(ITEMS["logical_or_no_channels"], container)
    np.testing.assert_array_equal(array[array.roi], source_values("labels") != 0)


def test_an_empty_source_does_not_reset_the_ids(container: Path) -> None:
    # The original took the offset from the last source alone, so after an empty one ids clashed with earlier ones.
    array = make(ITEMS["merge_instances_empty_middle"], container)
    first, last = source_values("labels2"), source_values("labels64")
    expected = first + np.where(last > 0, last + first.max(), 0)
    np.testing.assert_array_equal(array[array.roi], expected)
    recorded = golden_data.item_arrays(CASE, "merge_instances")
    for key, values in recorded.items():
        np.testing.assert_array_equal(array[as_roi(ITEMS["merge_instances"]["rois"][key])], values)


def test_the_first_source_wins_where_instances_overlap(container: Path) -> None:
    # The original added the ids of overlapping instances, which made new instances that could be anyone's.
    array = make(ITEMS["merge_instances_overlap"], container)
    first = source_values("labels2")[2:16, 2:20, 2:20]
    second = source_values("labels_small")
    assert ((first > 0) & (second > 0)).any()
    expected = np.where(first > 0, first, np.where(second > 0, second + first.max(), 0))
    np.testing.assert_array_equal(array[array.roi], expected)
