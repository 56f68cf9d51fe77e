"""Which chunks of arrays on disk are stored, and which are read as zeros."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
from funlib.geometry import Coordinate

from dacapo.experiments.datasplits.datasets.arrays import (
    IntensitiesArray,
    IntensitiesArrayConfig,
    ZarrArray,
    ZarrArrayConfig,
)
from dacapo.experiments.preflight.look import chunks_of
from tests.helpers.volumes import write_array


def test_chunks_that_are_not_stored_are_told_in_all_formats(tmp_path: Path) -> None:
    codecs = [{"name": "sharding_indexed", "configuration": {"chunk_shape": [4, 4]}}]
    grid = {"name": "regular", "configuration": {"chunk_shape": [8, 8]}}
    specs: dict[str, dict[str, Any]] = {
        "zarr": {"chunks": [4, 4]},
        "zarr3": {"chunk_grid": grid, "codecs": codecs},
        "n5": {"blockSize": [4, 4], "compression": {"type": "gzip"}},
    }
    for driver, metadata in specs.items():
        path = tmp_path / driver / "data"
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}, "metadata": metadata}
        opened = tensorstore.open(spec, create=True, dtype=tensorstore.uint8, shape=[16, 12]).result()
        opened[0:4, 4:8] = 1
        array = ZarrArray(ZarrArrayConfig("data", tmp_path / driver, "data", axes=["y", "x"]))
        stored = array.stored_chunks(array.roi)
        there = (1, 0) if driver == "n5" else (0, 1)
        assert len(stored) == 12
        assert [number for number, is_there in stored.items() if is_there] == [there], driver


def test_a_view_of_files_is_asked_for_its_chunks(tmp_path: Path) -> None:
    for name, value in (("full", 1), ("empty", 0)):
        values = np.full((40, 40), value, np.uint8)
        write_array(tmp_path / "data.zarr", name, values, Coordinate(4, 4), Coordinate(40, 40))
        source = ZarrArrayConfig(name, tmp_path / "data.zarr", name)
        view = IntensitiesArray(IntensitiesArrayConfig("view", source, 0, 255))
        assert list(chunks_of(view, view.roi).values()) == [bool(value)]
