"""Tests of bringing channels to the front."""

from __future__ import annotations

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.datasplits.datasets.arrays.channels import channels_first, read_channels_first


def test_a_channel_axis_moves_to_the_front_without_a_copy() -> None:
    values = np.arange(24).reshape(2, 3, 4)
    moved = channels_first(values, 2)
    np.testing.assert_array_equal(moved, values.transpose(2, 0, 1))
    assert np.shares_memory(moved, values)


@pytest.mark.parametrize(("add_missing", "shape"), [(True, (1, 2, 3)), (False, (2, 3))])
def test_a_missing_channel_axis_is_added_on_request(add_missing: bool, shape: tuple[int, ...]) -> None:
    assert channels_first(np.zeros((2, 3)), None, add_missing).shape == shape


def test_part_of_an_array_is_read_channels_first() -> None:
    values = np.arange(40).reshape(4, 5, 2)
    array = NumpyArray.from_np_array(values, Roi((0, 0), (8, 10)), Coordinate(2, 2), ["y", "x", "c"])
    np.testing.assert_array_equal(read_channels_first(array), values.transpose(2, 0, 1))
    np.testing.assert_array_equal(read_channels_first(array, Roi((2, 4), (4, 2))), values[1:3, 2:3].transpose(2, 0, 1))
