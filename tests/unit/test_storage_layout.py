"""How created arrays are divided into files and folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.scheduling.run_operation import run_operation
from dacapo.errors import BlockwiseError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.datasplits.datasets.arrays.zarr3_files import chunks_in_shard, create_zarr3_group
from dacapo.options import DaCapoConfig
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.invert import make_invert, set_fault, tried
from tests.helpers.volumes import OFFSET, VOXEL_SIZE, stored_values

SHAPE = (40, 40, 40)
ROI = Roi((0,) * 3, Coordinate(SHAPE) * 8)


def create(container: Path, write_size: int, **kwargs: Any) -> ZarrArray:
    sizes = Coordinate((write_size,) * 3) * 8
    given: dict[str, Any] = {"dtype": "uint8", "write_size": sizes, **kwargs}
    identifier = LocalArrayIdentifier(container, "a/raw")
    return ZarrArray.create_from_array_identifier(
        identifier, ["z", "y", "x"], ROI, None, Coordinate(8, 8, 8), given.pop("dtype"), **given
    )


def test_no_folder_of_a_zarr_2_array_holds_all_chunks(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 255, SHAPE, np.uint8)
    create(tmp_path / "out.zarr", 4)[ROI] = values
    folder = tmp_path / "out.zarr" / "a" / "raw"
    assert json.loads((folder / ".zarray").read_text())["dimension_separator"] == "/"
    assert max(len(list(inside.iterdir())) for inside in folder.rglob("*") if inside.is_dir()) == 10
    assert sum(file.name.isdecimal() and file.is_file() for file in folder.rglob("*")) == 1000
    np.testing.assert_array_equal(zarr.open(str(folder), mode="r")[:], values)


@pytest.mark.parametrize("edge", [64, 67, 106, 107, 128, 134, 160, 254])
def test_chunks_in_shards_are_neither_tiny_nor_huge(edge: int) -> None:
    z, y, x = chunks_in_shard([edge] * 3, ["z", "y", "x"])
    assert z == y == x
    assert edge % z == 0
    assert 32 <= z <= 127


def test_channels_stay_together_and_planes_have_larger_chunks() -> None:
    assert chunks_in_shard([12, 256, 256, 256], ["c", "z", "y", "x"]) == [12, 64, 64, 64]
    assert chunks_in_shard([4096, 2048], ["y", "x"]) == [512, 512]


def test_a_shard_is_what_a_block_writes(tmp_path: Path) -> None:
    create_zarr3_group(tmp_path / "out.zarr")
    array = create(tmp_path / "out.zarr", 20)
    array[ROI] = 1
    assert array.chunks == (20, 20, 20)
    files = [file for file in (tmp_path / "out.zarr" / "a" / "raw" / "c").rglob("*") if file.is_file()]
    assert len(files) == 8


def flatten(array: Path) -> None:
    """Move the chunks of an array into one folder, as earlier versions wrote them."""
    for file in [file for file in array.rglob("*") if file.is_file() and file.name.isdecimal()]:
        file.rename(array / ".".join(file.relative_to(array).parts).join(("flat", "")))
    for folder in sorted((folder for folder in array.rglob("*") if folder.is_dir()), reverse=True):
        folder.rmdir()
    for file in array.glob("flat*"):
        file.rename(array / file.name.removeprefix("flat"))
    header = json.loads((array / ".zarray").read_text())
    del header["dimension_separator"]
    (array / ".zarray").write_text(json.dumps(header))


def test_an_output_with_all_chunks_in_one_folder_is_resumed_as_it_is(options: DaCapoConfig, tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 255, (8, 8, 8), np.uint8)
    operation = make_invert(tmp_path, values, (4, 4, 4))
    fault = set_fault(tmp_path, "raise", list(map(int, OFFSET + VOXEL_SIZE * 4)))
    with pytest.raises(BlockwiseError, match="1 of 8 blocks"):
        run_operation(operation)
    fault.unlink()
    tried(tmp_path)
    array = tmp_path / "out.zarr" / "a" / "inverted"
    flatten(array)
    run_operation(operation)
    assert len(tried(tmp_path)) == 1
    assert sorted(file.name for file in array.iterdir() if not file.name.startswith(".")) == sorted(
        f"{z}.{y}.{x}" for z in (0, 1) for y in (0, 1) for x in (0, 1)
    )
    np.testing.assert_array_equal(stored_values(operation.output), 255 - values)
