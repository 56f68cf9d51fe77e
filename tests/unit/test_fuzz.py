"""Strange files and texts are refused by errors of the package: a few of those of ``benchmarks.reliability.fuzz``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Roi

from dacapo.errors import ConfigError, MemoryBudgetError, MetadataError
from dacapo.experiments.datasplits.datasets.arrays import open_array
from dacapo.store.yaml_files import load_yaml
from dacapo.utils.memory import parse_size
from tests.helpers import formats

VALUES = np.zeros((8, 8, 8), np.uint8)
HEADERS = {
    "zarr2": (formats.zarr2, "a.zarr/raw/.zarray", "shape", "chunks"),
    "n5": (formats.n5, "a.n5/raw/attributes.json", "dimensions", "blockSize"),
}


@pytest.mark.destructive
def test_nothing_but_errors_of_the_package() -> None:
    names = ["YAML", "options", "region", "size of memory", "zarr2 a.zarr/raw/.zarray", "precomputed raw/info"]
    # In a process of its own, since libraries that have threads do not survive a fork.
    command = [sys.executable, "-m", "benchmarks.reliability.fuzz", "--inputs", "700", "--seed", "11", "--only", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
    inputs, accepted, refused, found = map(int, done.stdout.splitlines()[-1].split()[1:])
    assert inputs >= 700
    assert accepted > 50
    assert refused > 300
    assert found == 0


def changed(folder: Path, kind: str, **changes: Any) -> Path:
    """Return the path of an array with other metadata; the keys are "shape" and "chunks" for all formats."""
    write, name, shape, chunks = HEADERS[kind]
    write(folder, "raw", VALUES)
    file = folder / name
    header = json.loads(file.read_text())
    names = {"shape": shape, "chunks": chunks}
    file.write_text(json.dumps({**header, **{names.get(key, key): value for key, value in changes.items()}}))
    return file.parents[1]


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize(
    "wrong", ["8", [8, 8], [8, 8, "8"], [8, 8, -1], [8, True, 8], [8, 8, 2**63], [1e3, 8, 8], None]
)
def test_sizes_that_are_none(tmp_path: Path, kind: str, wrong: Any) -> None:
    for key in ("shape", "chunks"):
        with pytest.raises(MetadataError):
            open_array(changed(tmp_path / key, kind, **{key: wrong}), "raw")


@pytest.mark.parametrize("kind", HEADERS)
def test_a_chunk_of_10_to_the_12_is_refused_unread(tmp_path: Path, kind: str) -> None:
    with pytest.raises(
        MetadataError, match=r"a chunk is decoded as a whole and takes at least 931 GB.* of this machine"
    ):
        open_array(changed(tmp_path, kind, chunks=[10_000, 10_000, 10_000], shape=[10_000] * 3), "raw")
    large = open_array(changed(tmp_path / "large", kind, shape=[10_000] * 3), "raw")
    with pytest.raises(MemoryBudgetError, match="this region holds 931 GB"):
        large[large.roi]
    first = Roi(large.roi.begin, large.voxel_size * 2)
    assert large[first].shape == (2, 2, 2)


@pytest.mark.parametrize("text", ["!!python/tuple 1", "\udcff: 1"])
def test_yaml_that_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        load_yaml(text)


@pytest.mark.parametrize("size", ["9" * 400 + "G", float("inf"), float("nan")])
def test_sizes_without_end(size: str | float) -> None:
    with pytest.raises(ConfigError, match="memory must be a size"):
        parse_size(size)
