"""Long curves in bins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dacapo.utils.sampled_curve import SampledCurve


@given(st.lists(st.floats(-1e6, 1e6) | st.just(np.nan), max_size=60), st.integers(1, 10), st.integers(0, 1000))
def test_bins_summarize_the_values_in_whatever_parts_they_come(values: list[float], part: int, first: int) -> None:
    curve, x = SampledCurve(most=8), np.arange(first, first + len(values))
    for start in range(0, len(values), part):
        curve.extend(x[start : start + part], values[start : start + part])
    middle, means, low, high = curve.points()
    assert len(middle) <= 8
    bins = [np.array(values)[x // curve.width == b] for b in dict.fromkeys(x // curve.width)]
    assert len(bins) == len(middle)
    for i, one in enumerate(bins):
        known = one[~np.isnan(one)]
        assert np.isnan(means[i]) == (not len(known))
        if len(known):
            np.testing.assert_allclose([means[i], low[i], high[i]], [known.mean(), known.min(), known.max()], atol=1e-6)


def test_few_values_are_kept_as_they_are() -> None:
    curve = SampledCurve()
    curve.extend([3, 4, 7], [1.0, 2.0, np.inf])
    middle, means, low, high = curve.points()
    np.testing.assert_array_equal(middle, [3, 4, 7])
    for values in (means, low, high):
        np.testing.assert_array_equal(values, [1, 2, np.inf])
    assert curve.last == 7


@pytest.mark.parametrize("part", [1_000_000, 99_999])
def test_a_spike_among_a_million_values_shows(part: int) -> None:
    values = np.ones(1_000_000)
    values[765_432] = 50
    curve = SampledCurve()
    for start in range(0, len(values), part):
        curve.extend(np.arange(start, min(start + part, len(values))), values[start : start + part])
    middle, means, _, high = curve.points()
    assert len(middle) <= 1000
    assert high.max() == 50
    assert abs(middle[high.argmax()] - 765_432) <= curve.width
    assert means.max() < 1.1
