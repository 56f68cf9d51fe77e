"""Paths of the package universal_pathlib, which scripts for the original pass everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from upath import UPath

from dacapo.errors import ArrayNotFoundError, ConfigError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray, ZarrArrayConfig, open_array
from dacapo.experiments.datasplits.datasets.arrays.given_values import config_given
from dacapo.options import DaCapoConfig
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.converter import converter
from dacapo.utils.paths import user_path

ROI = Roi((0, 0, 0), (8, 8, 8))


def test_arrays_are_written_and_read_at_a_upath(tmp_path: Path) -> None:
    folder = UPath(tmp_path)
    identifier = LocalArrayIdentifier(folder / "a.zarr", "raw")
    array = ZarrArray.create_from_array_identifier(
        identifier, ["z", "y", "x"], ROI, None, Coordinate(1, 1, 1), np.uint8
    )
    array[ROI] = np.ones((8, 8, 8), np.uint8)
    config = ZarrArrayConfig("r", folder / "a.zarr", "raw")
    for opened in (
        ZarrArray(config),
        open_array(folder / "a.zarr", "raw"),
        ZarrArray(config_given(folder / "a.zarr" / "raw", "raw")),  # type: ignore[arg-type]
        ZarrArray(converter.structure(converter.unstructure(config), ZarrArrayConfig)),
    ):
        assert opened[opened.roi].sum() == 512


def test_a_url_is_not_taken_for_a_local_folder() -> None:
    identifier = LocalArrayIdentifier(UPath("memory://upath/a.zarr"), "raw")
    with pytest.raises(ConfigError, match=r"cannot write to memory://upath/a\.zarr"):
        ZarrArray.create_from_array_identifier(identifier, ["z"], Roi((0,), (8,)), None, Coordinate(1), np.uint8)
    with pytest.raises(ArrayNotFoundError, match=r"no array is at memory://upath/a\.zarr/raw"):
        open_array(identifier.container, "raw")


def test_options_take_a_upath(tmp_path: Path) -> None:
    assert DaCapoConfig(runs_base_dir=UPath(tmp_path) / "runs").runs_base_dir == tmp_path / "runs"
    with pytest.raises(ConfigError, match="runs are kept in a folder"):
        DaCapoConfig(runs_base_dir=UPath("memory://runs"))


def test_a_bucket_stays_a_url() -> None:
    assert user_path(UPath("s3://bucket/a.zarr")) == Path("s3://bucket/a.zarr")


def test_what_is_not_carried_over_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"s3://bucket/a\.zarr carries the options key, secret; set credentials"):
        user_path(UPath("s3://bucket/a.zarr", key="k", secret="hush"))
    with pytest.raises(ConfigError, match="at abfs://; expected a file or a URL of s3, gs"):
        user_path(UPath("abfs://container/a.zarr"))
