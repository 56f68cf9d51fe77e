"""The example on real data, as far as it goes in seconds; skipped without ``--fib25=PATH``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import attrs
import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate

from dacapo.experiments.preflight import check_data
from dacapo.experiments.run import Run
from dacapo.options import DaCapoConfig

EXAMPLE = Path(__file__).parents[2] / "examples" / "fib25.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fib25_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(example: ModuleType, fib25: Path, options: DaCapoConfig) -> Run:
    config = example.run_config(fib25, iterations=5000)
    network = attrs.evolve(config.architecture_config, input_shape=Coordinate(32, 32, 32), num_fmaps=[4, 6, 8])
    trainer = attrs.evolve(config.trainer_config, num_data_fetchers=1)
    return Run(attrs.evolve(config, trainer_config=trainer, architecture_config=network))


def test_the_parts_do_not_overlap(example: ModuleType, run: Run) -> None:
    train, validation = run.datasplit.train[0], run.datasplit.validate[0]
    assert train.gt.roi == example.TRAIN
    assert train.raw.roi == example.TRAIN
    assert validation.gt.roi == example.VALIDATE
    assert not train.gt.roi.intersects(validation.gt.roi)


def test_the_data_passes_the_checks_before_training(run: Run) -> None:
    report = check_data(run)
    assert not report.errors + report.warnings
    assert 0 < sum(sampled.voxels for sampled in report.sampled) < sum(sampled.of for sampled in report.sampled)


def test_everything_in_one_segment_scores_what_was_measured_before(example: ModuleType, run: Run) -> None:
    labels = run.datasplit.validate[0].gt[example.VALIDATE]
    split, merge = example.score(np.ones_like(labels), labels)
    assert split == 0
    assert merge == pytest.approx(3.24, abs=0.01)
    assert example.score(labels, labels) == pytest.approx((0, 0), abs=1e-9)


def test_a_few_iterations_lower_the_loss_of_one_batch(run: Run) -> None:
    run.trainer.warmup_iterations = 0
    run.trainer.build_batch_provider(run.datasplit.train, run.model, run.task)
    with run.trainer:
        batch = run.trainer.next_batch()
        raw, target, weight = (torch.from_numpy(a) for a in (batch.raw, batch.target, batch.weight))
        assert set(np.unique(batch.target)) <= {0.0, 1.0}
        losses = []
        for _ in range(6):
            loss = run.task.loss.compute(run.model(raw), target, weight)
            losses.append(float(loss.detach()))
            run.optimizer.zero_grad()
            loss.backward()
            for group in run.optimizer.param_groups:
                group["lr"] = 1e-3
            run.optimizer.step()
    assert losses[-1] < losses[0]
