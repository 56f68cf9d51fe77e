"""Every format trains, predicts and is segmented with the same result as Zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dacapo.options import DaCapoConfig
from tests.helpers.format_runs import assert_same, results
from tests.helpers.formats import FORMATS


@pytest.fixture(scope="module")
def as_zarr() -> dict[str, Any]:
    """Results on the data as Zarr, made by the first test that needs them."""
    return {}


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"zarr2"}))
def test_a_format_trains_validates_predicts_and_is_segmented(
    options: DaCapoConfig, tmp_path: Path, as_zarr: dict[str, Any], name: str
) -> None:
    if not as_zarr:
        as_zarr.update(results("zarr2", FORMATS["zarr2"], tmp_path / "zarr2", by_path=True))
    # By path and dataset where the file tells all itself.
    by_path = name in ("hdf5", "n5", "precomputed", "zarr3")
    assert_same(results(name, FORMATS[name], tmp_path / name, by_path), as_zarr)
