"""Evaluation by worker processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dacapo.compute_context import Execution
from dacapo.errors import BlockwiseError
from dacapo.experiments.datasplits.datasets.arrays import BinarizeArrayConfig, ZarrArrayConfig
from dacapo.experiments.run import Run
from dacapo.experiments.tasks import DistanceTaskConfig
from dacapo.experiments.tasks.evaluators import InstanceEvaluator
from dacapo.inference import evaluation
from dacapo.inference.evaluation import evaluate_array
from dacapo.options import DaCapoConfig
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.runs import affinities_run_config
from tests.helpers.volumes import write_array

SHAPE = (40, 40, 40)
DISTANCES = DistanceTaskConfig(name="d", channels=["cell"], clip_distance=40.0, tol_distance=8.0, scale_factor=40.0)


def make(folder: Path, task: DistanceTaskConfig | None) -> tuple[Run, LocalArrayIdentifier]:
    """Return a run with a mask on its validation data, and something to score."""
    rng = np.random.default_rng(0)
    config = affinities_run_config(folder, task_config=task)
    dataset = config.datasplit_config.validate_configs[0]
    mask = (rng.random(SHAPE) > 0.2).astype(np.uint8)
    write_array(folder / "validate.zarr", "mask", mask)
    dataset.mask_config = ZarrArrayConfig("mask", folder / "validate.zarr", "mask")
    if task is None:
        output = np.kron(rng.integers(0, 9, (8, 8, 8)), np.ones((5, 5, 5))).astype(np.uint64)
    else:
        dataset.gt_config = BinarizeArrayConfig("cell", dataset.gt_config, [("cell", list(range(1, 9)))])
        output = (rng.random((1, *SHAPE)) > 0.5).astype(np.uint8)
        output[:, 20:] = 0
    run = Run(config)
    run.task.evaluator.block_voxels = 20**3
    return run, write_array(folder / "output.zarr", "output", output)


@pytest.mark.parametrize("task", [None, DISTANCES], ids=["instances", "binary"])
def test_scores_of_workers_are_those_of_this_process(
    options: DaCapoConfig, tmp_path: Path, task: DistanceTaskConfig | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, output = make(tmp_path, task)
    (dataset,) = run.datasplit.validate
    expected = evaluate_array(run, dataset, dataset.gt, output, Execution(1))
    monkeypatch.setattr(type(run.task.evaluator), "tally", lambda *_: pytest.fail("done in this process"))
    before = sorted(tmp_path.rglob("*"))
    scores = evaluate_array(run, dataset, dataset.gt, output, Execution(2))
    assert [getattr(scores, name) for name in scores.criteria] == [getattr(expected, name) for name in scores.criteria]
    assert run.task.evaluator.mask is None
    assert sorted(tmp_path.rglob("*")) == before, "something was left"


def test_what_workers_cannot_do_is_done_here(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, output = make(tmp_path, None)
    (dataset,) = run.datasplit.validate
    expected = evaluate_array(run, dataset, dataset.gt, output, Execution(1))
    monkeypatch.setattr(evaluation, "execute", lambda *_, **__: pytest.fail("given to workers"))
    with monkeypatch.context() as patch:
        patch.setattr(run.task.evaluator, "block_voxels", 10**6)
        assert evaluate_array(run, dataset, dataset.gt, output, Execution(2)) == expected
    with monkeypatch.context() as patch:
        patch.setattr(dataset.config, "gt_config", None)
        assert evaluate_array(run, dataset, dataset.gt, output, Execution(2)) == expected
    with monkeypatch.context() as patch:
        evaluate = InstanceEvaluator.evaluate
        patch.setattr(InstanceEvaluator, "evaluate", lambda *args: evaluate(*args))
        assert evaluate_array(run, dataset, dataset.gt, output, Execution(2)) == expected


def test_blocks_that_are_missing_are_no_scores(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, output = make(tmp_path, None)
    (dataset,) = run.datasplit.validate
    monkeypatch.setattr(evaluation, "execute", lambda *_, **__: None)
    with pytest.raises(BlockwiseError, match="only 0 of 8 blocks"):
        evaluate_array(run, dataset, dataset.gt, output, Execution(2))
    assert not list(tmp_path.glob(".evaluate_*"))
