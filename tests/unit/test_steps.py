"""Steps of a compute context, which give the workers of each their resources."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from dacapo.apply import apply
from dacapo.blockwise.agglomeration.painting import PaintSegments
from dacapo.blockwise.agglomeration.passes import CountContacts, CutFragments
from dacapo.blockwise.conversion.operation import Copy
from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.pyramid import Downsample
from dacapo.blockwise.segmentation.gathering import Gathering
from dacapo.blockwise.segmentation.matching import Matching
from dacapo.blockwise.segmentation.relabeling import Relabeling
from dacapo.blockwise.voxelwise import Threshold
from dacapo.blockwise.worker.spawned import SpawnedWorker
from dacapo.blockwise.worker.user_modules import declared_step, load_module
from dacapo.compute_context import (
    CPU,
    DEFAULT_WORKERS,
    Bsub,
    ComputeContext,
    Execution,
    LocalTorch,
    Slurm,
    Step,
    create_compute_context,
    prediction_workers,
)
from dacapo.errors import ConfigError
from dacapo.inference.evaluation import Evaluation
from dacapo.inference.prediction import Prediction
from dacapo.options import DaCapoConfig, Options
from dacapo.store.array_store import LocalArrayIdentifier

STEPS = {
    "cpu": {"queue": "cpu", "num_cpus": 2},
    "segment": {"memory": "64GB", "num_workers": 100},
    "predict": {"gpu_memory": "40GB", "num_workers": 4},
}
CLUSTERS = [Slurm, Bsub]


@pytest.mark.parametrize("cluster", CLUSTERS)
class TestResources:
    def test_only_networks_and_worker_files_get_gpus(self, cluster: type[Slurm | Bsub]) -> None:
        context = cluster(num_gpus=2)
        gpus = {str(step): context.for_step(step).num_gpus for step in Step}
        assert gpus == {**dict.fromkeys(Step, 0), "predict": 2, "blockwise": 2}
        command = context.for_step("segment").wrap_command(["x"])
        assert not any("gpu" in word or "gres" in word for word in command)

    def test_a_step_differs_only_where_it_says_so(self, cluster: type[Slurm | Bsub]) -> None:
        context = cluster(queue="gpu", num_cpus=8, memory="16GB", time="4:00:00", steps=STEPS)
        shared: dict[str, Any] = {"time": "4:00:00"}
        cpu = {**shared, "queue": "cpu", "num_cpus": 2, "num_gpus": 0}
        assert context.for_step("segment") == cluster(**cpu, memory="64GB", num_workers=100)
        assert context.for_step("relabel") == cluster(**cpu, memory="16GB")
        expected = cluster(**shared, queue="gpu", num_cpus=8, memory="16GB", gpu_memory="40GB", num_workers=4)
        assert context.for_step("predict") == expected
        assert pickle.loads(pickle.dumps(context)) == context

    def test_gpus_that_a_step_asks_for(self, cluster: type[Slurm | Bsub]) -> None:
        context = cluster(num_gpus=1, steps={"cpu": {"num_gpus": 1}, "evaluate": {"num_gpus": 0}})
        assert context.for_step("segment").has_gpus
        assert not context.for_step("evaluate").has_gpus

    @pytest.mark.parametrize(
        ("steps", "message"),
        [
            ({"paint": {}}, r"names the step 'paint'; known are predict, segment, match, .*blockwise"),
            ({"segment": {"gpus": 1}}, r"step segment of the compute context: .* no field gpus; it has .*num_gpus"),
            ({"relabel": {"memory": "much"}}, r"step relabel of the compute context: .*much"),
            ({"cpu": {"num_cpus": 0}}, r"step cpu of the compute context: .*num_cpus 0"),
            ({"predict": {"num_workers": 0}}, r"step predict .*num_workers must be a number from 1 on, got 0"),
            ({"predict": {"steps": {}}}, r"step predict of the compute context: a step has no steps"),
            ({"segment": None}, r"steps must map names to fields, .*got \{'segment': None\}"),
            (["segment"], r"steps must map names to fields"),
        ],
    )
    def test_wrong_steps_are_errors(self, cluster: type[Slurm | Bsub], steps: Any, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            cluster(steps=steps)
        settings = DaCapoConfig(compute_context={"type": cluster.__name__, "config": {"steps": steps}})
        with pytest.raises(ConfigError, match=message):
            create_compute_context(settings)


def test_settings_are_checked_before_any_work(options: DaCapoConfig, tmp_path: Path) -> None:
    Options.instance(compute_context={"type": "Slurm", "config": {"steps": {"paint": {}}}})
    with pytest.raises(ConfigError, match="names the step 'paint'"):
        apply("no such run", tmp_path / "no.zarr", "raw", tmp_path / "out.zarr")


def test_steps_on_this_machine() -> None:
    context = LocalTorch(steps={"predict": {"device": "meta"}, "cpu": {"num_workers": 3}})
    assert context.for_step("predict").device.type == "meta"
    assert context.for_step("match") == LocalTorch(num_workers=3)
    assert create_compute_context(step="match") == create_compute_context()


def test_an_unknown_step_is_an_error() -> None:
    with pytest.raises(ConfigError, match="names the step 'cpu'"):
        LocalTorch().for_step(CPU)


class TestNumberOfWorkers:
    @pytest.mark.parametrize(("given", "segment", "evaluate"), [(None, 100, DEFAULT_WORKERS), (16, 16, 16)])
    def test_of_a_step(self, options: DaCapoConfig, given: int | None, segment: int, evaluate: int) -> None:
        Options.instance(compute_context={"type": "Slurm", "config": {"steps": STEPS}})
        execution = Execution(given)
        assert execution.workers == segment
        assert execution.workers_for(Step.EVALUATE) == evaluate
        assert prediction_workers(given, create_compute_context(step="predict")) == 4

    def test_of_all_steps(self, options: DaCapoConfig) -> None:
        Options.instance(compute_context={"type": "Slurm", "config": {"num_workers": 7}})
        assert {Execution(given).workers for given in (None, 16)} == {7}
        assert Execution(2).workers == 2

    def test_memory_is_that_of_the_step(self, options: DaCapoConfig) -> None:
        steps = {"segment": {"memory": "64GB"}}
        Options.instance(compute_context={"type": "Slurm", "config": {"memory": "2GB", "steps": steps}})
        execution = Execution()
        assert execution.memory_for(Step.SEGMENT).job == execution.block_memory.job == 64 << 30
        assert execution.memory_for(Step.EVALUATE).job == 2 << 30


@pytest.mark.parametrize(
    ("operation", "step"),
    [
        (Prediction, Step.PREDICT),
        (Threshold, Step.SEGMENT),
        (CutFragments, Step.SEGMENT),
        (CountContacts, Step.MATCH),
        (Matching, Step.MATCH),
        (Gathering, Step.MATCH),
        (PaintSegments, Step.RELABEL),
        (Relabeling, Step.RELABEL),
        (Evaluation, Step.EVALUATE),
        (Downsample, Step.PYRAMID),
        (Copy, Step.CONVERT),
        (BlockwiseOperation, Step.BLOCKWISE),
    ],
)
def test_step_of_an_operation(operation: Any, step: Step) -> None:
    assert operation.step.fget(None) is step


class TestWorkerModules:
    @pytest.mark.parametrize(
        ("module", "step"),
        [
            ("predict_worker", "predict"),
            ("empanada_function", "predict"),
            ("threshold_worker", "segment"),
            ("argmax_worker", "segment"),
            ("segment_worker", "segment"),
            ("relabel_worker", "relabel"),
        ],
    )
    def test_of_this_package(self, module: str, step: str) -> None:
        name = f"dacapo.blockwise.{module}"
        assert declared_step(load_module(name), name, Step.BLOCKWISE) == step

    def test_a_worker_of_a_task_of_the_user(self, options: DaCapoConfig) -> None:
        Options.instance(compute_context={"type": "Slurm", "config": {"steps": {"segment": {"queue": "cpu"}}}})
        output = LocalArrayIdentifier(Path("x.zarr"), "y")
        context: ComputeContext = SpawnedWorker.of("dacapo.blockwise.threshold_worker", output, output).compute_context
        assert context == Slurm(queue="cpu", num_gpus=0)
