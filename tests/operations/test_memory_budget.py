"""What a prediction takes of memory is told beforehand, kept within a budget, and true."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from funlib.geometry import Coordinate, Roi
from hypothesis import given, settings
from hypothesis import strategies as st

from dacapo.apply import apply
from dacapo.cli import cli
from dacapo.compute_context import Bsub, ComputeContext, Execution, LocalTorch, Slurm
from dacapo.errors import ConfigError, MemoryBudgetError
from dacapo.experiments.block_plan import plan_blocks
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.run import Run
from dacapo.experiments.tasks.post_processors import (
    ThresholdPostProcessor,
    ThresholdPostProcessorParameters,
    WatershedPostProcessor,
    WatershedPostProcessorParameters,
)
from dacapo.inference.budget import Budget, block_bytes, plan_within
from dacapo.inference.prediction import predict_array
from dacapo.options import DaCapoConfig, Options
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.utils.memory import parse_size, process_memory
from dacapo.utils.memory_estimates import PROCESS_BYTES
from tests.helpers.memory import VOXEL, large
from tests.helpers.runs import unet_run

OFFSETS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (3, 0, 0), (0, 3, 0), (0, 0, 3)]


def affinities(folder: Path, edge: int) -> LocalArrayIdentifier:
    """Write affinities of nothing."""
    identifier = LocalArrayIdentifier(folder / "affinities.zarr", "affinities")
    roi, axes = Roi((0, 0, 0), (edge,) * 3), ["c", "z", "y", "x"]
    ZarrArray.create_from_array_identifier(
        identifier, axes, roi, len(OFFSETS), Coordinate(1, 1, 1), np.uint8
    ).add_metadata({"value_range": [0.0, 1.0]})
    return identifier


def hungry_run(folder: Path) -> Run:
    """Return a run whose blocks gain from memory up to some 17 GB."""
    shape, down = Coordinate(64, 64, 64), [Coordinate(2, 2, 2)] * 3
    return unet_run(folder, 3, padding="same", num_fmaps=8, input_shape=shape, downsample_factors=down)


def process_bytes() -> int:
    """Return about what this process takes, which is large among other tests, or what is assumed of any."""
    return max(process_memory() or 0, PROCESS_BYTES) + parse_size("5MB")


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_more_memory_gives_larger_blocks_that_fit(tmp_path: Path, padding: str) -> None:
    run, raw = unet_run(tmp_path, 3, padding=padding), large(tmp_path)
    voxels = []
    for beside in ("100MB", "200MB", "400MB", "7GB"):
        budget = process_bytes() + parse_size(beside)
        chosen = plan_within(run.model, raw, max_memory=budget)
        assert chosen.total <= budget
        assert chosen.block_bytes == sum(block_bytes(run.model, raw, chosen.plan, np.uint8))
        voxels.append(math.prod(chosen.plan.write_shape))
    assert voxels == sorted(voxels)
    assert voxels[0] < voxels[-1]


@settings(max_examples=10)
@given(beside=st.integers(20, 20_000), num_workers=st.integers(1, 64))
def test_workers_are_kept_within_the_budget(
    tmp_path_factory: pytest.TempPathFactory, beside: int, num_workers: int
) -> None:
    folder = tmp_path_factory.mktemp("workers")
    run, raw = unet_run(folder, 3, padding="valid"), large(folder)
    budget = process_bytes() + parse_size(f"{beside}MB")
    chosen = plan_within(run.model, raw, num_workers=num_workers, max_memory=budget)
    assert 1 <= chosen.num_workers <= num_workers
    assert chosen.total <= budget


def test_too_small_a_budget_says_what_would_do(tmp_path: Path) -> None:
    run, raw = unet_run(tmp_path, 3), large(tmp_path)
    target = LocalArrayIdentifier(tmp_path / "out.zarr", "p")
    with pytest.raises(MemoryBudgetError, match="so allow ") as caught:
        predict_array(run, raw, target, Execution(1, "100MB"))
    assert not target.container.exists()
    least = str(caught.value).rpartition("so allow ")[2]
    # As it is written for people it is rounded.
    assert plan_within(run.model, raw, max_memory=int(parse_size(least) * 1.05)).num_workers == 1


@pytest.mark.parametrize("wrong", ["lots", "8", 0])
def test_a_budget_that_is_no_size(tmp_path: Path, wrong: str | int) -> None:
    with pytest.raises(ConfigError, match="memory must be a size"):
        plan_within(unet_run(tmp_path, 3).model, large(tmp_path), max_memory=wrong)


def test_an_evaluation_shape_decides_unless_there_is_a_budget(tmp_path: Path) -> None:
    run, raw = unet_run(tmp_path, 3, padding="valid", eval_shape_increase=Coordinate(8, 8, 8)), large(tmp_path)
    fixed = plan_within(run.model, raw).plan.write_shape
    assert fixed / VOXEL == run.model.compute_output_shape(run.model.eval_input_shape)[1]
    budget = process_bytes() + parse_size("2GB")
    assert math.prod(plan_within(run.model, raw, max_memory=budget).plan.write_shape) > math.prod(fixed)


def test_an_evaluation_shape_that_does_not_fit_is_made_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run, raw = unet_run(tmp_path, 3, eval_shape_increase=Coordinate(240, 240, 240), padding="same"), large(tmp_path)
    for name in ("available_memory", "total_memory"):
        monkeypatch.setattr(f"dacapo.utils.memory_estimates.{name}", lambda: parse_size("2GB"))
    budget = plan_within(run.model, raw, context=LocalTorch(device="cpu"))
    assert budget.total <= parse_size("1GB") + process_bytes()
    assert "blocks become smaller than eval_shape_increase makes them" in caplog.text
    fitting = unet_run(tmp_path, 3, eval_shape_increase=Coordinate(60, 60, 60), padding="same")
    assert plan_within(fitting.model, raw).plan == plan_blocks(fitting.model, raw)


def test_what_is_not_free_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, raw = unet_run(tmp_path, 3, num_fmaps=64), large(tmp_path)
    monkeypatch.setattr("dacapo.utils.memory_estimates.available_memory", lambda: parse_size("10MB"))
    with pytest.raises(MemoryBudgetError, match="which is more than is free here"):
        plan_within(run.model, raw, context=LocalTorch(device="cpu"))


class TestGpus:
    """What is planned for GPUs, of which 12 GB are free each."""

    @pytest.fixture(autouse=True)
    def _gpus(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 0)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (parse_size("12GB"), parse_size("80GB")))
        monkeypatch.setattr("dacapo.utils.memory_estimates.available_memory", lambda: parse_size("100GB"))

    def plan(self, folder: Path, context: ComputeContext, num_workers: int, **how: Any) -> Budget:
        return plan_within(hungry_run(folder).model, large(folder), num_workers=num_workers, context=context, **how)

    def test_each_worker_has_a_gpu_for_itself(self, tmp_path: Path) -> None:
        alone, together = (self.plan(tmp_path, LocalTorch(distribute_workers=True), workers) for workers in (1, 8))
        assert together.num_workers == 8
        assert alone.gpu_limit == together.gpu_limit == parse_size("6GB")
        assert parse_size("3GB") < together.gpu_bytes <= parse_size("6GB")
        assert together.plan.write_shape == alone.plan.write_shape
        assert "per process are on a GPU, where 6.0 GB may be used" in str(together)

    @pytest.mark.parametrize(("workers", "shared"), [(9, 2), (16, 2), (17, 3)])
    def test_workers_that_share_a_gpu_divide_its_memory(self, tmp_path: Path, workers: int, shared: int) -> None:
        budget = self.plan(tmp_path, LocalTorch(), workers)
        assert budget.num_workers == workers
        assert budget.gpu_limit == parse_size("6GB") // shared
        assert budget.gpu_bytes <= budget.gpu_limit

    def test_a_certain_gpu_is_shared_by_all(self, tmp_path: Path) -> None:
        assert self.plan(tmp_path, LocalTorch(device="cuda:1"), 3).gpu_limit == parse_size("2GB")

    def test_no_more_workers_than_fit_on_their_gpu(self, tmp_path: Path) -> None:
        one = self.plan(tmp_path, LocalTorch(device="cuda:1"), 500)
        assert 1 < one.num_workers < 500
        assert one.num_workers * one.gpu_bytes <= parse_size("6GB")

    def test_a_budget_counts_what_gpus_hold(self, tmp_path: Path) -> None:
        budget = self.plan(tmp_path, LocalTorch(), 8, max_memory="400GB")
        assert (budget.limit, budget.num_workers) == (parse_size("400GB"), 8)
        assert parse_size("3GB") < budget.gpu_bytes <= parse_size("6GB")
        assert ", 400 GB may be used" in str(budget)
        small = self.plan(tmp_path, LocalTorch(), 8, max_memory="16GB")
        assert small.total <= parse_size("16GB")
        assert 0 < small.gpu_bytes < budget.gpu_bytes

    def test_this_process_takes_half_of_the_gpu(self, tmp_path: Path) -> None:
        assert self.plan(tmp_path, LocalTorch(), 1).gpu_bytes > parse_size("3GB")

    def test_memory_of_the_machine_counts_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("dacapo.utils.memory_estimates.available_memory", lambda: parse_size("10GB"))
        budget = self.plan(tmp_path, LocalTorch(), 8)
        on_host = budget.num_workers * (budget.total // budget.num_workers - budget.gpu_bytes)
        assert on_host <= parse_size("5GB") + process_bytes()

    @pytest.mark.parametrize("cls", [Slurm, Bsub])
    @pytest.mark.parametrize("workers", [1, 5])
    def test_jobs(self, tmp_path: Path, cls: type[Slurm] | type[Bsub], workers: int) -> None:
        budget = self.plan(tmp_path, cls(memory="64GB"), workers)
        assert budget.num_workers == workers
        assert parse_size("3GB") < budget.gpu_bytes <= parse_size("6GB"), "like the GPU of this machine"
        larger = self.plan(tmp_path, cls(memory="64GB", gpu_memory="20GB"), workers)
        assert budget.gpu_bytes < larger.gpu_bytes <= parse_size("10GB")
        assert larger.limit == workers * parse_size("74GB")
        small = self.plan(tmp_path, cls(memory="2GB"), workers)
        assert small.total // workers - small.gpu_bytes <= parse_size("2GB")

    @pytest.mark.parametrize("workers", [1, 5])
    def test_jobs_with_gpus_that_nobody_knows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr("dacapo.utils.memory_estimates.available_memory", lambda: pytest.fail("is of no matter"))
        usual = self.plan(tmp_path, Slurm(memory="64GB"), workers)
        run = hungry_run(tmp_path)
        assert usual.plan == plan_blocks(run.model, large(tmp_path))
        assert "where an unknown amount may be used" in str(usual)
        told = self.plan(tmp_path, Slurm(gpu_memory="12GB"), workers)
        assert parse_size("3GB") < told.gpu_bytes <= parse_size("6GB")
        assert told.num_workers == workers
        asked = self.plan(tmp_path, Slurm(), workers, max_memory=f"{8 * workers}GB")
        assert parse_size("4GB") < asked.total // workers <= parse_size("8GB")

    def test_jobs_on_cpus(self, tmp_path: Path) -> None:
        budget = self.plan(tmp_path, Slurm(num_gpus=0, memory="5GB"), 3)
        assert (budget.num_workers, budget.gpu_bytes, budget.limit) == (3, 0, parse_size("15GB"))
        assert parse_size("2GB") < budget.total // 3 <= parse_size("5GB")

    def test_jobs_too_small_for_the_least(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        assert self.plan(tmp_path, Slurm(memory="100MB"), 3).num_workers == 3
        assert "this network and volume need at least that" in caplog.text


def test_blocks_do_not_depend_on_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks round differently in other blocks, so work that starts over could differ from the first attempt."""
    run, raw, context = hungry_run(tmp_path), large(tmp_path), LocalTorch(device="cpu")
    monkeypatch.setattr("dacapo.utils.memory_estimates.total_memory", lambda: parse_size("8GB"))

    def planned(free: str, workers: int) -> Budget:
        monkeypatch.setattr("dacapo.utils.memory_estimates.available_memory", lambda: parse_size(free))
        return plan_within(run.model, raw, num_workers=workers, context=context)

    for workers in (1, 2):
        much, little = planned("8GB", workers), planned("3GB", workers)
        assert much.plan == little.plan
        assert (much.num_workers, little.num_workers) == (workers, 1)


def test_processes_on_cpus_take_2_gb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("available_memory", "total_memory"):
        monkeypatch.setattr(f"dacapo.utils.memory_estimates.{name}", lambda: parse_size("100GB"))
    run = hungry_run(tmp_path)
    for workers in (1, 4):
        budget = plan_within(run.model, large(tmp_path), num_workers=workers, context=LocalTorch(device="cpu"))
        assert budget.block_bytes is not None
        assert parse_size("1GB") < budget.block_bytes <= parse_size("2GB")


class TestPostProcessing:
    """What becomes of a budget behind the network, for predictions of which nothing is on disk."""

    def planned(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, edge: int, budget: str | None, memory: str = "99GB"
    ) -> tuple[Coordinate, int] | None:
        """Return the blocks of a mutex watershed and its workers, None for a volume that is segmented as a whole.

        All of the memory of the machine is free.
        """
        for name in ("available_memory", "total_memory"):
            monkeypatch.setattr(f"dacapo.utils.memory_estimates.{name}", lambda: parse_size(memory))
        prediction, planned = affinities(folder, edge), []
        post_processor = WatershedPostProcessor(OFFSETS)
        post_processor.set_prediction(prediction)
        monkeypatch.setattr(
            "dacapo.blockwise.segmentation.run_segmentation",
            lambda what, execution: planned.append((what.block_shape, execution.workers)),
        )
        monkeypatch.setattr(post_processor, "_segment_whole", lambda *how: planned.append(None))
        # The output is not written, but it is opened.
        post_processor.process_within(WatershedPostProcessorParameters(id=0), prediction, Execution(8, budget))
        (found,) = planned
        return found

    @pytest.mark.parametrize(
        ("edge", "budget", "expected"),
        [
            (320, None, None),
            (320, "5GB", None),
            (320, "3GB", ((128, 256, 256), 1)),
            (320, "1GB", ((64, 128, 128), 1)),
            (320, "700MB", ((32, 64, 64), 1)),
            (1024, None, ((256, 256, 256), 8)),
            (1024, "5GB", ((256, 256, 256), 1)),
            (1024, "9GB", ((256, 256, 256), 2)),
            (1024, "99GB", ((256, 256, 256), 8)),
        ],
    )
    def test_the_mutex_watershed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edge: int, budget: str | None, expected: Any
    ) -> None:
        assert self.planned(tmp_path, monkeypatch, edge, budget) == expected

    def test_a_budget_for_no_block_at_all_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(MemoryBudgetError, match=r"a block takes about .* allow at least 602 MB"):
            self.planned(tmp_path, monkeypatch, 320, "100MB")

    @pytest.mark.parametrize(
        ("memory", "expected"),
        [
            ("9GB", None),
            ("3GB", ((128, 128, 256), 1)),
            ("2GB", ((128, 128, 128), 1)),
        ],
    )
    def test_the_memory_of_the_machine_is_a_limit_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str, expected: Any
    ) -> None:
        assert self.planned(tmp_path, monkeypatch, 320, None, memory) == expected

    def test_so_is_the_memory_of_a_job(
        self, options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Options.instance(compute_context={"type": "Slurm", "config": {"memory": "2GB"}})
        assert self.planned(tmp_path, monkeypatch, 1024, None) == ((128, 128, 256), 8)

    def test_others_get_fewer_workers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[int] = []
        monkeypatch.setattr(
            "dacapo.blockwise.scheduling.run_operation.execute",
            lambda what, execution: asked.append(execution.workers),
        )
        monkeypatch.setattr("dacapo.utils.memory_estimates.available_memory", lambda: parse_size("99GB"))
        post_processor, prediction = ThresholdPostProcessor(), affinities(tmp_path, 1024)
        post_processor.set_prediction(prediction)
        for budget in (None, "1GB", "9GB"):
            post_processor.process_within(ThresholdPostProcessorParameters(id=0), prediction, Execution(16, budget))
        assert asked[:2] == [16, 1]
        assert 1 < asked[2] < 16

    def test_apply_and_validate_hand_the_budget_on(
        self, options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = unet_run(tmp_path, 3)
        create_config_store().store_run_config(run.config)
        create_weights_store().store_weights(run, 1)
        seen: list[tuple[str, int | None]] = []

        def plan(*how: Any, max_memory: str | int | None, **more: Any) -> Budget:
            seen.append(("predict", None if max_memory is None else parse_size(max_memory)))
            return plan_within(*how, max_memory=max_memory, **more)

        def takes_blocks(post_processor: WatershedPostProcessor, execution: Execution) -> bool:
            seen.append(("segment", execution.max_memory))
            return choose(post_processor, execution)

        choose = WatershedPostProcessor._takes_blocks
        monkeypatch.setattr("dacapo.inference.prediction.plan_within", plan)
        monkeypatch.setattr(WatershedPostProcessor, "_takes_blocks", takes_blocks)
        raw = tmp_path / "validate.zarr"
        done = CliRunner().invoke(
            cli, ["--runs-dir", str(options.runs_base_dir), "validate", run.name, "1", "--max-memory", "64GB"]
        )
        assert done.exit_code == 0, done.output
        apply(run.name, raw, "raw", tmp_path / "out.zarr", iteration=1, num_workers=1, max_memory="64GB")
        assert set(seen) == {("predict", parse_size("64GB")), ("segment", parse_size("64GB"))}
        assert len(seen) == 4


MEASURED = """
import json, sys
from pathlib import Path
import numpy as np, torch
from funlib.geometry import Coordinate, Roi
from dacapo.inference.budget import plan_within
from dacapo.inference.prediction import predict_array
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.memory import large
from tests.helpers.runs import unet_run

folder, padding, budget = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(1)
run, raw = unet_run(folder, 3, padding=padding, num_fmaps=8), large(folder, (100, 120, 110))
chosen = plan_within(run.model, raw, max_memory=budget)
# A single block of that size is enough to see what it takes.
roi = Roi(raw.roi.begin, chosen.plan.write_shape)
predict_array(run, raw, LocalArrayIdentifier(folder / "out.zarr", "p"), output_roi=roi, block_shape=roi.shape)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"peak": peak * 1024, "told": chosen.total, "blocks": chosen.block_bytes}))
"""


@pytest.mark.slow
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
    run = unet_run(tmp_path, 3, padding="same")
    raw = large(tmp_path, (28, 32, 30))
    raw_values = np.random.default_rng(0).integers(0, 2, (28, 32, 30), dtype=np.uint8)
    writable = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(tmp_path / "large.zarr", "raw"))
    writable[raw.roi] = raw_values
    exact, fast = (
        predict_array(
            run,
            raw,
            LocalArrayIdentifier(tmp_path / "out.zarr", precision),
            Execution(precision=precision),
            output_dtype=np.float32,
        )
        for precision in ("float32", "bfloat16")
    )
    difference = np.abs(exact[exact.roi] - fast[fast.roi])
    assert 0 < difference.max() < 0.02
    with pytest.raises(ConfigError, match="float32, bfloat16"):
        predict_array(run, raw, LocalArrayIdentifier(tmp_path / "out.zarr", "x"), Execution(precision="int8"))
    assert next(run.model.parameters()).dtype == torch.float32
