"""Arrays indexed by voxels, and as NumPy and xarray have them; the contract of arrays holds the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.errors import MemoryBudgetError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray, as_numpy
from tests.helpers.volumes import write_array

VALUES = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)


@pytest.fixture
def array(tmp_path: Path) -> ZarrArray:
    return ZarrArray.open_from_array_identifier(write_array(tmp_path / "a.zarr", "raw", VALUES))


def test_sections_are_read_in_turn(array: ZarrArray) -> None:
    sections = list(array)
    assert len(sections) == 4
    np.testing.assert_array_equal(np.stack(sections), VALUES)
    assert array


def test_a_roi_counts_world_units_and_a_slice_voxels(array: ZarrArray) -> None:
    first = Roi(array.roi.offset, Coordinate(1, 5, 6) * array.voxel_size)
    np.testing.assert_array_equal(array[first], array[0:1])


def test_types_and_copies_are_those_of_numpy(array: ZarrArray) -> None:
    assert np.asarray(array, dtype=np.float32).dtype == np.float32
    assert np.array(array).flags.writeable
    with pytest.raises(ValueError, match="leave out copy=False"):
        np.asarray(array, copy=False)


def test_more_than_the_memory_is_refused(array: ZarrArray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_numpy, "available_memory", lambda: 100)
    for read in (np.asarray, ZarrArray.to_xarray):
        with pytest.raises(MemoryBudgetError, match=r"has 240 bytes, and 100 bytes of memory.*array\[0:10\] in voxels"):
            read(array)
    np.testing.assert_array_equal(array[0, 0], VALUES[0, 0])


@pytest.mark.parametrize("lazy", [False, True])
def test_an_xarray_knows_units_and_reads_when_asked(array: ZarrArray, lazy: bool, monkeypatch: Any) -> None:
    made = array.to_xarray(lazy=lazy)
    assert made.dims == ("z", "y", "x")
    assert {str(made[dim].attrs["units"]) for dim in made.dims} == {"nm"}
    assert (type(made.data) is np.ndarray) is not lazy
    np.testing.assert_array_equal(made.sel(z=float(array.roi.begin[0])).values, VALUES[0])
