"""Resampling against scikit-image, and against what is known of positions in the world."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import given
from hypothesis import strategies as st
from skimage.transform import rescale

from dacapo.errors import ConfigError, RoiError
from dacapo.experiments.config import field
from dacapo.experiments.datasplits.datasets.arrays import ArrayConfig, NumpyArray, ResampledArray, ResampledArrayConfig


class HeldArray(NumpyArray):
    """Values of a config."""

    def __init__(self, config: HeldArrayConfig) -> None:
        values, offset, size, axes = config.held
        shape = [n for n, axis in zip(values.shape, axes, strict=True) if axis != "c"]
        roi = Roi(offset, Coordinate(shape) * Coordinate(size))
        vars(self).update(vars(NumpyArray.from_np_array(values, roi, Coordinate(size), list(axes))))


@attrs.define
class HeldArrayConfig(ArrayConfig):
    """Values in memory as a config."""

    array_type: ClassVar[type[HeldArray]] = HeldArray

    held: Any = field("Values, offset, voxel size, axes.", default=None)


def resampled(
    values: np.ndarray, offset: Any, size: Any, axes: str, up: Any, down: Any, linear: bool
) -> ResampledArray:
    source = HeldArrayConfig("held", (values, offset, size, axes))
    return ResampledArray(ResampledArrayConfig("r", source, Coordinate(up), Coordinate(down), linear))


@pytest.mark.parametrize(
    ("up", "down"), [((2, 3), (0, 0)), ((0, 0), (2, 3)), ((0, 0), (4, 2)), ((2, 1), (1, 2)), ((3, 1), (2, 4))]
)
@pytest.mark.parametrize("axes", ["yx", "cyx", "yxc"])
def test_linear_is_what_scikit_image_does(up: Any, down: Any, axes: str) -> None:
    shape = tuple({"c": 2, "y": 12, "x": 24}[axis] for axis in axes)
    values = np.random.default_rng(0).random(shape)
    array = resampled(values, (0, 0), (12, 12), axes, up, down, True)
    factors = iter(max(u, 1) / max(d, 1) for u, d in zip(up, down, strict=True))
    scale = [1 if axis == "c" else next(factors) for axis in axes]
    np.testing.assert_allclose(array[array.roi], rescale(values, scale, order=1, anti_aliasing=True), atol=1e-12)
    assert array.scale == tuple(scale)


# A ramp is its own linear interpolation, so each new voxel must hold the world position of its center.
@given(st.data())
def test_positions_in_the_world_are_kept(data: st.DataObject) -> None:
    factor = st.integers(0, 3)
    up, down = (data.draw(st.tuples(factor, factor)) for _ in range(2))
    offset = data.draw(st.tuples(st.integers(-30, 30), st.integers(-30, 30)))
    size = (6, 12)
    y = offset[0] + (np.arange(20) + 0.5) * size[0]
    x = offset[1] + (np.arange(20) + 0.5) * size[1]
    values = y[:, None] + 1000 * x[None, :]
    array = resampled(values, offset, size, "yx", up, down, True)
    result = array[array.roi]
    new_y, new_x = (
        begin + (np.arange(n) + 0.5) * step
        for begin, n, step in zip(array.roi.begin, result.shape, array.voxel_size, strict=True)
    )
    expected = new_y[:, None] + 1000 * new_x[None, :]
    margin = (slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(result[margin], expected[margin], rtol=1e-9)


@given(st.data())
def test_the_nearest_voxel_is_the_one_around_the_centre(data: st.DataObject) -> None:
    up, down = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 4))
    begin = data.draw(st.integers(-20, 20))
    values = np.arange(30, dtype=np.uint64) + 2**60
    array = resampled(values, (begin,), (6,), "x", (up,), (down,), False)
    step = array.voxel_size[0]
    expected = []
    for i in range(array.roi.shape[0] // step):
        center = array.roi.begin[0] + i * step + step / 2
        expected.append(values[int(np.floor((center - begin) / 6))])
    np.testing.assert_array_equal(array[array.roi], np.array(expected, dtype=np.uint64))
    assert array.dtype == np.uint64


def test_factors_of_one_and_zero_leave_an_axis_alone() -> None:
    values = np.random.default_rng(0).random((5, 6))
    for factors in ((0, 0), (1, 1)):
        for linear in (True, False):
            array = resampled(values, (3, 5), (4, 4), "yx", factors, factors, linear)
            assert array.roi == Roi((3, 5), (20, 24))
            np.testing.assert_array_equal(array[array.roi], values)


def test_whole_numbers_are_rounded_and_stay_in_range() -> None:
    values = np.array([0, 255, 0, 255, 255, 0], dtype=np.uint8)
    array = resampled(values, (0,), (4,), "x", (2,), (0,), True)
    result = array[array.roi]
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, np.rint(rescale(values.astype(float), 2, order=1)).astype(np.uint8))


def test_a_mask_stays_a_mask() -> None:
    array = resampled(np.array([True, False, True]), (0,), (4,), "x", (2,), (0,), True)
    assert array[array.roi].dtype == bool
    assert array[array.roi].tolist() == [True, True, False, False, True, True]


def test_one_source_voxel_is_enough() -> None:
    array = resampled(np.array([5.0, 7.0]), (0,), (4,), "x", (2,), (0,), True)
    np.testing.assert_array_equal(array[Roi((2,), (2,))], [5])


@pytest.mark.parametrize(
    ("up", "down", "error", "message"),
    [
        ((3, 1), (1, 1), ConfigError, "is not an integer"),
        ((2, 2, 2), (1, 1), ConfigError, "upsample is"),
        ((1, 1), (-1, 1), ConfigError, "downsample is"),
        ((1, 1), (100, 1), RoiError, "no voxel of size"),
    ],
)
def test_refuses(up: Any, down: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resampled(np.zeros((5, 6)), (0, 0), (4, 4), "yx", up, down, True)
