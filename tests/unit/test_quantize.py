"""Scaling of predictions to integers and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dacapo.errors import ConfigError, DtypeError
from dacapo.utils.quantize import dequantize, quantize

RANGES = [(0.0, 1.0), (-1.0, 1.0)]


@pytest.mark.parametrize("value_range", RANGES)
@given(st.data())
def test_matches_definition(value_range, data):
    low, high = value_range
    values = data.draw(hnp.arrays(np.float32, 5, elements=st.floats(-2, 2, width=32)))
    exact = np.clip((values.astype(float) - low) / (high - low) * 255, 0, 255)
    # Single precision may decide otherwise between two steps only where the value lies half way.
    assert (np.abs(quantize(values, value_range, np.uint8) - exact) <= 0.5 + 1e-4).all()


@pytest.mark.parametrize("value_range", RANGES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_ends_of_the_range(value_range, dtype):
    low, high = value_range
    result = quantize(np.array([low - 1, low, high, high + 1, np.nan, -np.inf, np.inf]), value_range, dtype)
    largest = np.iinfo(dtype).max
    assert result.dtype == dtype
    assert result.tolist() == [0, 0, largest, largest, 0, 0, largest]


@pytest.mark.parametrize("value_range", RANGES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_integer_survives_the_round_trip(value_range, dtype):
    stored = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    restored = dequantize(stored, value_range)
    assert restored.min() == pytest.approx(value_range[0])
    assert restored.max() == pytest.approx(value_range[1])
    np.testing.assert_array_equal(quantize(restored, value_range, dtype), stored)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_pass_through(dtype):
    values = np.array([-3.0, 0.25, 7.0])
    stored = quantize(values, (0, 1), dtype)
    assert stored.dtype == dtype
    np.testing.assert_array_equal(stored, values)
    np.testing.assert_array_equal(dequantize(stored, (0, 1)), values)


def test_input_is_left_alone():
    values = np.array([0.5], dtype=np.float32)
    quantize(values, (-1, 1), np.uint8)
    assert values[0] == 0.5


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, bool])
def test_other_types_are_refused(dtype):
    with pytest.raises(DtypeError):
        quantize(np.zeros(2), (0, 1), dtype)
    with pytest.raises(DtypeError):
        dequantize(np.zeros(2, dtype=dtype), (0, 1))


def test_empty_range_is_refused():
    with pytest.raises(ConfigError):
        quantize(np.zeros(2), (1, 1), np.uint8)
