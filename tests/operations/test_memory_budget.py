"""What a prediction takes of memory is told beforehand, kept within a budget, and true."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate, Roi
from hypothesis import given, settings
from hypothesis import strategies as st

from dacapo.blockwise.budget import block_bytes, plan_within
from dacapo.blockwise.prediction import predict_array
from dacapo.errors import ConfigError, MemoryBudgetError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.run import Run
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.memory import parse_size, process_memory
from tests.operations.runs import affinities_run_config, unet_config

VOXEL = Coordinate(8, 4, 4)


def large(folder: Path, shape: tuple[int, int, int] = (500, 700, 600)) -> ZarrArray:
    """Return an array of zeros, of which nothing is on disk."""
    return ZarrArray.create_from_array_identifier(
        LocalArrayIdentifier(folder / "large.zarr", "raw"),
        ["z", "y", "x"],
        Roi((0, 0, 0), Coordinate(shape) * VOXEL),
        None,
        VOXEL,
        np.uint8,
    )


def process_bytes() -> int:
    """Return about what this process takes, which is large among other tests, or what is assumed of any."""
    return max(process_memory() or 0, parse_size("600MB")) + parse_size("5MB")


def make_run(folder: Path, **architecture: object) -> Run:
    return Run(affinities_run_config(folder, dims=3, architecture_config=unet_config(3, **architecture)))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_more_memory_gives_larger_blocks_that_fit(tmp_path: Path, padding: str) -> None:
    run, raw = make_run(tmp_path, padding=padding), large(tmp_path)
    voxels = []
    for beside in ("100MB", "200MB", "400MB", "7GB"):
        budget = process_bytes() + parse_size(beside)
        chosen = plan_within(run.model, raw, max_memory=budget)
        assert chosen.total <= budget
        assert chosen.block_bytes == block_bytes(run.model, raw, chosen.plan, np.uint8)
        voxels.append(math.prod(chosen.plan.write_shape))
    assert voxels == sorted(voxels)
    assert voxels[0] < voxels[-1]


@settings(max_examples=10)
@given(beside=st.integers(20, 20_000), num_workers=st.integers(1, 64))
def test_workers_are_kept_within_the_budget(
    tmp_path_factory: pytest.TempPathFactory, beside: int, num_workers: int
) -> None:
    folder = tmp_path_factory.mktemp("workers")
    run, raw = make_run(folder, padding="valid"), large(folder)
    budget = process_bytes() + parse_size(f"{beside}MB")
    chosen = plan_within(run.model, raw, num_workers=num_workers, max_memory=budget)
    assert 1 <= chosen.num_workers <= num_workers
    assert chosen.total <= budget


def test_too_small_a_budget_says_what_would_do(tmp_path: Path) -> None:
    run, raw = make_run(tmp_path), large(tmp_path)
    target = LocalArrayIdentifier(tmp_path / "out.zarr", "p")
    with pytest.raises(MemoryBudgetError, match="so allow ") as caught:
        predict_array(run, raw, target, max_memory="100MB")
    assert not target.container.exists()
    least = str(caught.value).rpartition("so allow ")[2]
    # As it is written for people it is rounded.
    assert plan_within(run.model, raw, max_memory=int(parse_size(least) * 1.05)).num_workers == 1


@pytest.mark.parametrize("wrong", ["lots", "8", 0])
def test_a_budget_that_is_no_size(tmp_path: Path, wrong: str | int) -> None:
    with pytest.raises(ConfigError, match="memory must be a size"):
        plan_within(make_run(tmp_path).model, large(tmp_path), max_memory=wrong)


def test_an_evaluation_shape_decides_unless_there_is_a_budget(tmp_path: Path) -> None:
    run, raw = make_run(tmp_path, padding="valid", eval_shape_increase=Coordinate(8, 8, 8)), large(tmp_path)
    fixed = plan_within(run.model, raw).plan.write_shape
    assert fixed / VOXEL == run.model.compute_output_shape(run.model.eval_input_shape)[1]
    budget = process_bytes() + parse_size("2GB")
    assert math.prod(plan_within(run.model, raw, max_memory=budget).plan.write_shape) > math.prod(fixed)


MEASURED = """
import json, sys
from pathlib import Path
import numpy as np, torch
from funlib.geometry import Coordinate, Roi
from dacapo.blockwise.budget import plan_within
from dacapo.blockwise.prediction import predict_array
from dacapo.store.array_store import LocalArrayIdentifier
from tests.operations.test_memory_budget import large, make_run

folder, padding, budget = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(1)
run, raw = make_run(folder, padding=padding, num_fmaps=8), large(folder, (100, 120, 110))
chosen = plan_within(run.model, raw, max_memory=budget)
# A single block of that size is enough to see what it takes.
roi = Roi(raw.roi.begin, chosen.plan.write_shape)
predict_array(run, raw, LocalArrayIdentifier(folder / "out.zarr", "p"), output_roi=roi, block_shape=roi.shape)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"peak": peak * 1024, "told": chosen.total, "blocks": chosen.block_bytes}))
"""


@pytest.mark.parametrize(("padding", "budget"), [("same", "1GB"), ("valid", "900MB")])
def test_what_is_told_is_what_is_measured(tmp_path: Path, padding: str, budget: str) -> None:
    command = [sys.executable, "-c", MEASURED, str(tmp_path), padding, budget]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["blocks"] > 0.2 * parse_size(budget), "too small a block to tell"
    assert measured["peak"] <= parse_size(budget)
    assert measured["peak"] > 0.5 * measured["told"]


def test_bfloat16_is_close(tmp_path: Path) -> None:
    run = make_run(tmp_path, padding="same")
    raw = large(tmp_path, (28, 32, 30))
    raw_values = np.random.default_rng(0).integers(0, 2, (28, 32, 30), dtype=np.uint8)
    writable = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(tmp_path / "large.zarr", "raw"))
    writable[raw.roi] = raw_values
    exact, fast = (
        predict_array(
            run,
            raw,
            LocalArrayIdentifier(tmp_path / "out.zarr", precision),
            output_dtype=np.float32,
            precision=precision,
        )
        for precision in ("float32", "bfloat16")
    )
    difference = np.abs(exact[exact.roi] - fast[fast.roi])
    assert 0 < difference.max() < 0.02
    with pytest.raises(ConfigError, match="float32, bfloat16"):
        predict_array(run, raw, LocalArrayIdentifier(tmp_path / "out.zarr", "x"), precision="int8")
    assert next(run.model.parameters()).dtype == torch.float32
