"""Means and most frequent values of groups of voxels, against their definitions."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dacapo.utils.downsampling import downsample_mean, downsample_mode


def groups(values: np.ndarray, factors: tuple[int, ...]) -> Any:
    """Yield the index of each group, and its values; those at the end of an axis repeat the last ones."""
    shape = [-(-size // factor) for size, factor in zip(values.shape, factors, strict=True)]
    for index in itertools.product(*map(range, shape)):
        places = itertools.product(
            *([min(i * f + n, s - 1) for n in range(f)] for i, f, s in zip(index, factors, values.shape, strict=True))
        )
        yield index, [values[place] for place in places]


SHAPES = st.tuples(*[st.integers(1, 6)] * 3)
FACTORS = st.tuples(*[st.integers(1, 2)] * 3)


@given(SHAPES, FACTORS, st.integers(0, 1000), st.sampled_from(["u1", "i2", "u8", "f4"]))
def test_the_mean(shape: tuple[int, ...], factors: tuple[int, ...], seed: int, dtype: str) -> None:
    values = np.random.default_rng(seed).integers(0, 120, shape).astype(dtype)
    found = downsample_mean(values, factors)
    assert found.dtype == values.dtype
    for index, group in groups(values, factors):
        mean = np.mean(np.array(group, float))
        assert found[index] == pytest.approx(np.rint(mean) if values.dtype.kind != "f" else mean)


@given(SHAPES, FACTORS, st.integers(0, 1000), st.sampled_from(["u1", "u8", "i4", "?"]))
def test_the_mode(shape: tuple[int, ...], factors: tuple[int, ...], seed: int, dtype: str) -> None:
    values = np.random.default_rng(seed).integers(0, 4, shape).astype(dtype)
    found = downsample_mode(values, factors)
    assert found.dtype == values.dtype
    for index, group in groups(values, factors):
        counts = Counter(group)
        assert found[index] == min(counts, key=lambda value: (-counts[value], value == 0, value))


def test_large_ids_are_exact() -> None:
    labels = np.array([2**63 + 1, 2**63 + 1, 2**63 + 3, 0], np.uint64)
    assert downsample_mode(labels, [2]).tolist() == [2**63 + 1, 2**63 + 3]
    assert downsample_mean(np.full(4, 65535, np.uint16), [2]).tolist() == [65535, 65535]
