"""The contract of an array, as a test suite.

Subclass :class:`ArrayContract` and give it an array of at least two voxels per axis, best with an offset and
voxels larger than 1::

    class TestMyArray(ArrayContract):
        @pytest.fixture(params=["zyx", "cyx"])
        def array(self, request, tmp_path):
            return MyArray(MyArrayConfig("mine", ...))
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.errors import DacapoError, RoiError
from dacapo.experiments.datasplits.datasets.arrays import Array, read_all

NON_SPATIAL = ("b", "c")


def voxel_slices(array: Array, roi: Roi) -> tuple[slice, ...]:
    """Return the index of a roi into the whole array; written apart from the code under test."""
    result, i = [], 0
    for axis in array.axes:
        if axis in NON_SPATIAL:
            result.append(slice(None))
            continue
        begin = (roi.begin[i] - array.roi.begin[i]) // array.voxel_size[i]
        result.append(slice(begin, begin + roi.shape[i] // array.voxel_size[i]))
        i += 1
    return tuple(result)


def some_rois(array: Array, count: int = 5) -> Iterator[Roi]:
    """Yield rois of whole voxels inside the array."""
    rng = random.Random(0)
    voxels = array.roi.shape / array.voxel_size
    for _ in range(count):
        begin = Coordinate(rng.randrange(n) for n in voxels)
        shape = Coordinate(rng.randint(1, n - b) for n, b in zip(voxels, begin, strict=True))
        yield Roi(array.roi.offset + begin * array.voxel_size, shape * array.voxel_size)


def _write(array: Any, roi: Roi, value: int) -> None:
    # Not part of the interface that all arrays share.
    array[roi] = value


class ArrayContract:
    """Laws of reading, and of writing where the array can be written."""

    independent_of_roi = True
    """Whether the value of a voxel is the same in whichever roi it is read."""

    @pytest.fixture
    def array(self) -> Array:
        """Return a fresh array of at least two voxels per axis."""
        raise NotImplementedError

    def test_regions_read_at_the_same_time_are_those_read_one_by_one(self, array: Array) -> None:
        rois = [*some_rois(array), array.roi]
        for roi, values in zip(rois, read_all((array, roi) for roi in rois), strict=True):
            np.testing.assert_array_equal(values, array[roi])
            assert values.dtype == array.dtype

    def test_says_what_it_is(self, array: Array) -> None:
        assert len(set(array.axes)) == len(array.axes)
        assert array.dims == len([axis for axis in array.axes if axis not in NON_SPATIAL])
        assert array.roi.dims == array.voxel_size.dims == array.dims
        assert all(size > 0 for size in array.voxel_size)
        assert array.roi.shape.is_multiple_of(array.voxel_size)
        assert isinstance(array.dtype, np.dtype)
        assert isinstance(array.writable, bool)
        assert array.attrs == dict(array.attrs)

    def test_whole(self, array: Array) -> None:
        values = array[array.roi]
        counts = iter(array.roi.shape / array.voxel_size)
        shape = [values.shape[i] if a in NON_SPATIAL else next(counts) for i, a in enumerate(array.axes)]
        assert type(values) is np.ndarray
        assert list(values.shape) == shape
        assert values.dtype == array.dtype
        assert values.dtype.isnative

    def test_channels(self, array: Array) -> None:
        if "c" in array.axes:
            assert array.num_channels == array[array.roi].shape[array.axes.index("c")]
            assert array.channel_axis == array.axes.index("c")
        else:
            assert array.channel_axis is None

    def test_data_holds_the_values(self, array: Array) -> None:
        np.testing.assert_array_equal(np.asarray(array.data[:]), array[array.roi])

    def test_is_indexed_by_voxels_as_numpy_is(self, array: Array) -> None:
        whole = array[array.roi]
        np.testing.assert_array_equal(np.asarray(array), whole, strict=True)
        assert len(array) == len(whole)
        for index in (0, -1, slice(0, 1), slice(None, None, -1), slice(1, 1), (..., 0), (0, slice(None), ...), ...):
            got: Any = array[index]
            if self.independent_of_roi:
                np.testing.assert_array_equal(got, whole[index], strict=True)
            assert got.shape == whole[index].shape
        with pytest.raises(IndexError, match="out of range"):
            array[len(array)]
        for bad in ([0], None, True, whole > 0):
            with pytest.raises(RoiError, match="index it by a roi in world units"):
                array[bad]

    def test_an_xarray_has_the_positions_of_voxels(self, array: Array) -> None:
        made = array.to_xarray()
        assert made.dims == tuple(array.axes)
        np.testing.assert_array_equal(made.values, np.asarray(array))
        spatial = [axis for axis in array.axes if axis not in NON_SPATIAL]
        for axis, begin, step in zip(spatial, array.world.in_units(array.roi.begin), array.spacing, strict=True):
            np.testing.assert_allclose(made[axis].values[:2], [begin, begin + step])

    def test_a_part_is_a_slice_of_the_whole(self, array: Array) -> None:
        whole = array[array.roi]
        for roi in some_rois(array):
            part = array[roi]
            expected = whole[voxel_slices(array, roi)]
            assert part.shape == expected.shape
            if self.independent_of_roi:
                np.testing.assert_array_equal(part, expected)

    def test_reading_twice_gives_the_same(self, array: Array) -> None:
        first = array[array.roi].copy()
        np.testing.assert_array_equal(array[array.roi], first)

    @pytest.mark.parametrize(("padding", "mode"), [("reflect", "reflect"), ("zero", "constant")])
    def test_padding_is_that_of_numpy(self, array: Array, padding: Any, mode: Any) -> None:
        before, after = Coordinate(range(1, array.dims + 1)), Coordinate(range(array.dims, 0, -1))
        amounts = iter(zip(before, after, strict=True))
        widths = [(0, 0) if axis in NON_SPATIAL else next(amounts) for axis in array.axes]
        roi = array.roi.grow(before * array.voxel_size, after * array.voxel_size)
        np.testing.assert_array_equal(
            array.read_padded(roi, padding), np.pad(array[array.roi], widths, mode=mode), strict=True
        )

    def test_padding_far_outside_is_zero(self, array: Array) -> None:
        part = Roi(array.roi.end + array.voxel_size, array.voxel_size * 2)
        values = array.read_padded(part, "zero")
        assert not values.any()
        assert [size for axis, size in zip(array.axes, values.shape, strict=True) if axis not in NON_SPATIAL] == [
            2
        ] * array.dims

    def test_refuses_a_roi_outside(self, array: Array) -> None:
        for axis, step in itertools.product(range(array.dims), (-1, 1)):
            shift = Coordinate(step if i == axis else 0 for i in range(array.dims)) * array.voxel_size
            roi = array.roi + shift
            with pytest.raises(RoiError) as error:
                array[roi]
            assert str(roi) in str(error.value)
            assert str(array.roi) in str(error.value)

    def test_refuses_a_roi_between_voxels(self, array: Array) -> None:
        size = array.voxel_size
        if max(size) == 1:
            pytest.skip("every whole number lies on a grid of ones")
        axis = size.index(max(size))
        unit = Coordinate(int(i == axis) for i in range(array.dims))
        for roi in (Roi(array.roi.offset + unit, size), Roi(array.roi.offset, size + unit)):
            with pytest.raises(RoiError) as error:
                array[roi]
            assert str(roi) in str(error.value)
            assert str(size) in str(error.value)

    def test_refuses_a_roi_of_other_dimensions(self, array: Array) -> None:
        with pytest.raises(RoiError, match="dimensions"):
            array[Roi((0,) * (array.dims + 1), (1,) * (array.dims + 1))]

    def test_refuses_a_roi_without_bounds(self, array: Array) -> None:
        with pytest.raises(RoiError, match="no bounds"):
            array[Roi((None,) * array.dims, (None,) * array.dims)]

    def test_writing(self, array: Array) -> None:
        if not array.writable:
            # An array that cannot be written at all has no item assignment; one that was opened to be read refuses.
            if hasattr(type(array), "__setitem__"):
                with pytest.raises(DacapoError):
                    _write(array, array.roi, 0)
            return
        before = array[array.roi].copy()
        roi = Roi(array.roi.offset + array.voxel_size, array.voxel_size)
        changed = np.zeros_like(before)
        changed[voxel_slices(array, roi)] = 1
        _write(array, roi, 1)
        np.testing.assert_array_equal(array[array.roi], np.where(changed, np.ones_like(before), before))
