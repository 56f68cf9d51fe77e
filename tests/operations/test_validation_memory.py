"""Validation holds no more of a volume at once than a few blocks."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Roi

from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.inference import budget
from dacapo.options import DaCapoConfig
from dacapo.validate import validate_run
from tests.helpers.validation_memory import EDGE, PREDICTION_BLOCKS, prepare

# A prediction block with its context of one voxel, or a block of the evaluation with its margin of 4 on both sides.
LARGEST = (EDGE + 8) ** 3


@pytest.fixture(autouse=True)
def _small_prediction_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_ENOUGH_VOXELS", PREDICTION_BLOCKS)


@pytest.mark.parametrize("task", ["distance", "onehot"])
def test_no_more_than_a_block_is_read_or_written_at_once(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    run = prepare(tmp_path / "data", task, 96)
    voxels: list[int] = []
    read, write = ZarrArray.__getitem__, ZarrArray.__setitem__

    def note(array: ZarrArray, roi: Roi) -> None:
        voxels.append(math.prod(roi.shape / array.voxel_size))

    def noted_read(array: ZarrArray, roi: Roi) -> np.ndarray:
        note(array, roi)
        return read(array, roi)

    def noted_write(array: ZarrArray, roi: Roi, values: Any) -> None:
        note(array, roi)
        write(array, roi, values)

    monkeypatch.setattr(ZarrArray, "__getitem__", noted_read)
    monkeypatch.setattr(ZarrArray, "__setitem__", noted_write)
    # Whatever asks for all values at once.
    monkeypatch.setattr(ZarrArray, "__array__", lambda *_: pytest.fail("all of an array is read"), raising=False)
    scores = validate_run(run, 1, num_workers=1)
    assert np.isfinite(scores.scores[0][0]).sum() > 10
    assert len(voxels) > 27 * 4
    assert max(voxels) <= LARGEST < 96**3 / 10


def test_memory_does_not_grow_with_the_volume(tmp_path: Path) -> None:
    # In a process of its own: all threads count, also those that other tests have left.
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "tests.helpers.validation_memory", str(tmp_path)]
    got = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert got.returncode == 0, got.stderr
    small, large = map(int, got.stdout.split())
    # An eighth of the smallest copy of the larger volume, which has one byte per voxel.
    assert large - small < (128**3 - 64**3) / 8
