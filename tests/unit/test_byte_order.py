"""Arrays whose numbers have their bytes in the other order give those of this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gunpowder as gp
import numpy as np
import pytest
import tifffile
import zarr
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.datasplits.datasets.arrays import (
    Array,
    BinarizeArrayConfig,
    ConcatArrayConfig,
    CropArrayConfig,
    IntensitiesArrayConfig,
    LogicalOrArrayConfig,
    MergeInstancesArrayConfig,
    MissingAnnotationsMaskConfig,
    NumpyArray,
    OnesArrayConfig,
    ResampledArrayConfig,
    SumArrayConfig,
    TiffArray,
    TiffArrayConfig,
    ZarrArray,
    ZarrArrayConfig,
    read_all,
)
from dacapo.experiments.datasplits.datasets.arrays.chunk_cache import cached_chunks
from dacapo.experiments.datasplits.datasets.arrays.view import VoxelwiseView
from dacapo.experiments.tasks.evaluators.instance_evaluator import relabel
from dacapo.utils.byte_order import native, native_dtype
from dacapo.utils.lsds import local_shape_descriptors
from dacapo.utils.voi import voi

OTHER = ">" if sys.byteorder == "little" else "<"
LABELS = np.random.default_rng(0).integers(0, 4, (8, 8, 8)).astype(f"{OTHER}u8")
ROI, SIZE = Roi((8, 8, 8), (16, 16, 16)), Coordinate(2, 2, 2)


def stored(path: Path, name: str = "labels", values: np.ndarray = LABELS, **options: Any) -> ZarrArrayConfig:
    array = zarr.open_group(str(path / "a.zarr"), mode="a").create_dataset(
        name, data=values, chunks=4, overwrite=True, **options
    )
    array.attrs.put({"axes": ["z", "y", "x"], "resolution": [2, 2, 2], "offset": [8, 8, 8], "units": ["nm"] * 3})
    return ZarrArrayConfig(name, path / "a.zarr", name)


def check(array: Array, expected: np.ndarray) -> None:
    assert array.dtype.isnative
    whole = array.roi
    with cached_chunks():
        cached = array[whole]
    for values in (array[whole], cached, next(iter(read_all([(array, whole)])))):
        assert values.dtype == array.dtype
        assert values.dtype.isnative
        np.testing.assert_array_equal(values, expected)
    padded = array.read_padded(whole.grow(SIZE, SIZE), "zero")
    assert padded.dtype.isnative


@pytest.mark.parametrize("options", [{}, {"order": "F"}, {"compressor": None}, {"compressor": zarr.Zlib()}])
@pytest.mark.parametrize("kind", ["u2", "i4", "u8", "f4", "f8"])
def test_zarr(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    values = LABELS.astype(f"{OTHER}{kind}")
    array = ZarrArray(stored(tmp_path, values=values, **options))
    assert array.data.dtype.str[0] == OTHER
    check(array, values)
    array[array.roi] = values[::-1]
    check(array, values[::-1])


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff(tmp_path: Path, compression: str | None) -> None:
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, LABELS.astype(f"{OTHER}u2"), byteorder=OTHER, compression=compression)
    check(TiffArray(TiffArrayConfig("labels", file, ROI.offset, SIZE, ["z", "y", "x"])), LABELS)


def test_numpy() -> None:
    array = NumpyArray.from_np_array(LABELS.copy(), ROI, SIZE, ["z", "y", "x"])
    check(array, LABELS)
    array[array.roi] = LABELS[::-1]
    check(array, LABELS[::-1])
    check(NumpyArray.from_gp_array(gp.Array(LABELS, gp.ArraySpec(roi=ROI, voxel_size=SIZE))), LABELS)


def test_views(tmp_path: Path) -> None:
    here, there = stored(tmp_path), stored(tmp_path, "native", LABELS.astype(np.uint64))
    views = [
        (BinarizeArrayConfig, {"groupings": [("a", [1, 2]), ("b", [])]}),
        (CropArrayConfig, {"roi": Roi((8, 8, 8), (8, 8, 8))}),
        (IntensitiesArrayConfig, {"min": 0.0, "max": 4.0}),
        (LogicalOrArrayConfig, {}),
        (MissingAnnotationsMaskConfig, {"groupings": [("a", [1])]}),
        (OnesArrayConfig, {}),
        (ResampledArrayConfig, {"upsample": [2, 1, 1], "downsample": [1, 1, 1], "interp_order": False}),
        (ResampledArrayConfig, {"upsample": [2, 1, 1], "downsample": [1, 1, 1], "interp_order": True}),
    ]
    configs = [[kind("view", source_array_config=source, **more) for source in (here, there)] for kind, more in views]
    configs += [
        [kind("view", source_array_configs=[source, source]) for source in (here, there)]
        for kind in (MergeInstancesArrayConfig, SumArrayConfig)
    ]
    configs.append([ConcatArrayConfig("view", ["a", "b"], {"a": source}, there) for source in (here, there)])
    for other, same in configs:
        expected = same.array_type(same)
        check(other.array_type(other), expected[expected.roi])


class Negative(VoxelwiseView):
    """A view of another package, which computes in whatever order."""

    def _compute(self, *values: np.ndarray) -> np.ndarray:
        return (-values[0].astype(np.int64)).astype(f"{OTHER}i8")

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int64)


def test_a_view_of_others() -> None:
    check(
        Negative("negative", [NumpyArray.from_np_array(LABELS, ROI, SIZE, ["z", "y", "x"])]), -LABELS.astype(np.int64)
    )


def test_functions_on_labels_take_either_order() -> None:
    same = LABELS.astype(np.uint64)
    assert voi(LABELS, LABELS[::-1]) == voi(same, same[::-1])
    np.testing.assert_array_equal(relabel(LABELS)[0], relabel(same)[0])
    np.testing.assert_array_equal(
        local_shape_descriptors(LABELS, (3.0,) * 3, (2.0,) * 3), local_shape_descriptors(same, (3.0,) * 3, (2.0,) * 3)
    )


def test_native_values_are_not_copied() -> None:
    values = np.zeros(3, dtype=native_dtype(f"{OTHER}f4"))
    assert native(values) is values
