"""The jobs that a cluster gets, by the steps of the compute context."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.apply import apply_run
from dacapo.blockwise import DaCapoBlockwiseTask
from dacapo.blockwise.segmentation import SegmentationPlan
from dacapo.blockwise.segmentation.fragments import Fragments
from dacapo.compute_context import Slurm, Step
from dacapo.errors import ConfigError
from dacapo.experiments.tasks.post_processors import WatershedPostProcessor, WatershedPostProcessorParameters
from dacapo.options import DaCapoConfig, Options
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.cluster import install_srun
from tests.helpers.runs import stored_run
from tests.helpers.volumes import new_volume, write_array

BLOCK = Roi((0,), (5,))


@pytest.fixture(autouse=True)
def steps(options: DaCapoConfig) -> None:
    """Settings in which the partition of a job is its step."""
    steps = {str(step): {"queue": str(step)} for step in Step}
    Options.instance(compute_context={"type": "Slurm", "config": {"num_gpus": 1, "num_cpus": 1, "steps": steps}})


def test_only_the_prediction_of_apply_gets_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = install_srun(tmp_path, monkeypatch)
    monkeypatch.setattr(WatershedPostProcessor, "whole_voxels", 0)
    run, source = stored_run(tmp_path), new_volume(tmp_path)
    arrays = [LocalArrayIdentifier(tmp_path / "out.zarr", name) for name in ("prediction", "labels")]
    apply_run(run, 1, WatershedPostProcessorParameters(id=0), source, *arrays, num_workers=1)
    jobs = [json.loads(line) for line in record.read_text().splitlines()]
    expected = [("predict", "gpu:1"), ("segment", None), ("match", None), ("relabel", None)]
    assert [(job["partition"], job["gres"]) for job in jobs] == expected


@pytest.mark.parametrize(
    ("declared", "context"),
    [
        ("", Slurm(queue="blockwise", num_gpus=1, num_cpus=1)),
        ("COMPUTE_STEP = 'segment'", Slurm(queue="segment", num_gpus=0, num_cpus=1)),
    ],
)
def test_a_worker_file_can_declare_its_step(tmp_path: Path, declared: str, context: Slurm) -> None:
    file = tmp_path / "worker.py"
    file.write_text(f"{declared}\ndef process_block(block): pass\n")
    task = DaCapoBlockwiseTask(file, BLOCK, BLOCK, BLOCK, 1)
    assert task.compute_context == context


@pytest.mark.parametrize(("declared", "step"), [("", "segment"), ("COMPUTE_STEP = 'predict'", "predict")])
def test_a_segment_function_can_declare_that_it_predicts(tmp_path: Path, declared: str, step: str) -> None:
    file = tmp_path / "function.py"
    file.write_text(f"{declared}\ndef segment_function(array, roi): pass\n")
    source = write_array(tmp_path / "in.zarr", "raw", np.ones(10, np.uint8), Coordinate(1), Coordinate(0))
    output = LocalArrayIdentifier(tmp_path / "out.zarr", "labels")
    plan = SegmentationPlan.of(source, output, file, Roi((0,), (10,)), BLOCK, BLOCK, 1, args=[], kwargs={})
    assert Fragments.of(plan, tmp_path).step == step


def test_an_unknown_step_of_a_file_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "worker.py"
    file.write_text("COMPUTE_STEP = 'gpu'\ndef process_block(block): pass\n")
    with pytest.raises(ConfigError, match=r"COMPUTE_STEP of .*worker\.py names the step 'gpu'; known are predict, "):
        DaCapoBlockwiseTask(file, BLOCK, BLOCK, BLOCK, 1)
