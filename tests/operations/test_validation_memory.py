"""Validation holds no more of a volume at once than a few blocks."""

from __future__ import annotations

import functools
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from benchmarks.validation_memory import store_run, write_volumes
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.run import Run
from dacapo.inference import budget
from dacapo.options import DaCapoConfig, Options
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.validate import validate_run

EDGE = 32
# A prediction block with its context of one voxel, or a block of the evaluation with its margin of 4 on both sides.
LARGEST = (EDGE + 8) ** 3


@pytest.fixture(autouse=True)
def _small_prediction_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_ENOUGH_VOXELS", {3: EDGE})


def prepare(folder: Path, task: str, size: int) -> Run:
    """Return a run on new volumes, all whose blocks have an edge of 32 voxels."""
    folder.mkdir()
    write_volumes(folder, size)
    Options.reset()
    name = store_run(folder, task, edge=EDGE)
    run = Run(create_config_store().retrieve_run_config(name), load_starter_model=False)
    create_weights_store().load_weights(run, 1)
    post_processor: Any = run.task.post_processor
    process, choice = post_processor.process, run.task.parameters[0]
    post_processor.process = functools.partial(process, block_size=Coordinate((EDGE,) * 3))
    post_processor.enumerate_parameters = lambda: [choice]
    run.validation_scores.parameters = [choice]
    evaluator: Any = run.task.evaluator
    evaluator.block_voxels, evaluator.margin = EDGE**3, 4
    return run


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


def test_memory_does_not_grow_with_the_volume(options: DaCapoConfig, tmp_path: Path) -> None:
    peaks = []
    for size in (64, 128):
        run = prepare(tmp_path / str(size), "distance", size)
        validate_run(run, 1, num_workers=1)  # what is imported and made once
        tracemalloc.start()
        try:
            validate_run(run, 1, num_workers=1)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # An eighth of the smallest copy of the larger volume, which has one byte per voxel.
    assert peaks[1] - peaks[0] < (128**3 - 64**3) / 8
