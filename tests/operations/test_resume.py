"""An interrupted and resumed training equals an uninterrupted one, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch

from dacapo.errors import TrainingError
from dacapo.experiments.checkpoints import resume
from dacapo.experiments.run import Run
from dacapo.experiments.trainers import (
    IntensityAugmentConfig,
    NoiseAugmentConfig,
    SimpleAugmentConfig,
    TorchTrainerConfig,
)
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.options import DaCapoConfig, Options
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.train import train
from dacapo.validate import validate_run
from tests.helpers.processes import PATIENCE, Started, wait_for_checkpoint
from tests.helpers.runs import affinities_run_config

pytestmark = pytest.mark.destructive

ITERATIONS, INTERVAL = 9, 3


def prepare(base: Path, folder: Path) -> None:
    """Store the run under a base folder and make it the one in use."""
    Options.reset()
    Options.instance(runs_base_dir=base)
    config = affinities_run_config(folder, num_iterations=ITERATIONS, validation_interval=INTERVAL)
    create_config_store().store_run_config(config)


def train_command(base: Path) -> list[str]:
    return ["-m", "dacapo.cli", "--runs-dir", str(base), "train", "affinities"]


def finish(base: Path) -> None:
    """Train to the end in a process of its own, since tests before may have left another number of threads in this."""
    subprocess.run([sys.executable, *train_command(base)], check=True)


def interrupt(command: Sequence[str], base: Path, number: signal.Signals) -> tuple[int, str]:
    """Send a signal to a command that trains, after its first checkpoint; return its status and what it wrote."""
    with Started([sys.executable, *command]) as process:
        wait_for_checkpoint(process, base, "affinities")
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
    stopped_at = create_weights_store().latest_iteration("affinities")
    assert stopped_at is not None
    assert 0 < stopped_at < ITERATIONS, "the process was done before it was interrupted"
    return process.returncode, errors


def result(base: Path) -> tuple[dict[str, torch.Tensor], np.ndarray, list[list[list[list[float]]]], dict[str, object]]:
    """Return the final weights, the losses, the scores and the optimizer's state of a run."""
    Options.reset()
    Options.instance(runs_base_dir=base)
    weights = create_weights_store().retrieve_weights("affinities", ITERATIONS)
    stats = create_stats_store()
    losses = np.array([s.loss for s in stats.retrieve_training_stats("affinities").iteration_stats])
    scores = [s.scores for s in stats.retrieve_validation_iteration_scores("affinities")]
    return weights.model, losses, scores, weights.optimizer


def assert_same_optimizer(one: object, other: object) -> None:
    if isinstance(one, dict):
        assert isinstance(other, dict)
        assert one.keys() == other.keys()
        for key in one:
            assert_same_optimizer(one[key], other[key])
    elif torch.is_tensor(one):
        assert torch.equal(one, other)  # type: ignore[arg-type]
    elif isinstance(one, (list, tuple)):
        for a, b in zip(one, other, strict=True):  # type: ignore[call-overload]
            assert_same_optimizer(a, b)
    else:
        assert one == other


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of data, and the base folder of a run trained on it in one go."""
    folder = tmp_path_factory.mktemp("data")
    base = tmp_path_factory.mktemp("whole")
    prepare(base, folder)
    finish(base)
    Options.reset()
    return folder, base


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_equals_uninterrupted(
    uninterrupted: tuple[Path, Path], tmp_path: Path, number: signal.Signals
) -> None:
    folder, whole = uninterrupted
    prepare(tmp_path, folder)
    status, errors = interrupt(train_command(tmp_path), tmp_path, number)
    assert status == (-signal.SIGKILL if number == signal.SIGKILL else 130), errors
    finish(tmp_path)

    model, losses, scores, optimizer = result(whole)
    resumed_model, resumed_losses, resumed_scores, resumed_optimizer = result(tmp_path)
    np.testing.assert_array_equal(resumed_losses, losses)
    assert resumed_scores == scores
    assert model.keys() == resumed_model.keys()
    assert all(torch.equal(model[k], resumed_model[k]) for k in model)
    assert_same_optimizer(optimizer, resumed_optimizer)


SCRIPT = """
import sys
from pathlib import Path
from dacapo import Options, train
Options.instance(runs_base_dir=sys.argv[1])
run = train("affinities")
Path(sys.argv[1], "applied").touch()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_script_goes_no_further(
    uninterrupted: tuple[Path, Path], tmp_path: Path, number: signal.Signals
) -> None:
    prepare(tmp_path, uninterrupted[0])
    status, errors = interrupt(["-c", SCRIPT, str(tmp_path)], tmp_path, number)
    assert status == -signal.SIGINT, errors  # which a shell calls 130
    stopped_at = create_weights_store().latest_iteration("affinities")
    assert f"KeyboardInterrupt: affinities: trained {stopped_at} of 9 iterations; everything is saved" in errors
    assert not (tmp_path / "applied").exists()


@pytest.mark.parametrize("when", [3, 4])
def test_a_request_to_stop_is_remembered_until_the_end(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    def validate_and_ask(run: Run, iteration: int, num_workers: int) -> ValidationIterationScores:
        scores = validate_run(run, iteration, num_workers)
        if iteration == when:
            os.kill(os.getpid(), signal.SIGTERM)
        return scores

    monkeypatch.setattr(sys.modules["dacapo.train"], "validate_run", validate_and_ask)
    config = affinities_run_config(tmp_path, dims=2, num_iterations=4, validation_interval=1)
    create_config_store().store_run_config(config)
    with pytest.raises(KeyboardInterrupt, match="affinities: trained 4 of 4 iterations"):
        train(config.name)
    assert [scores.iteration for scores in train(config.name).validation_scores.scores] == [1, 2, 3, 4]


def test_resume_restores_everything(uninterrupted: tuple[Path, Path]) -> None:
    _, whole = uninterrupted
    Options.reset()
    Options.instance(runs_base_dir=whole)
    run = Run(create_config_store().retrieve_run_config("affinities"))
    learning_rate = run.optimizer.param_groups[0]["lr"]
    resume(run)
    assert run.training_stats.trained_until() == ITERATIONS
    assert run.trainer.iteration == ITERATIONS
    assert run.validation_scores.validated_until() == ITERATIONS + 1
    assert run.optimizer.param_groups[0]["lr"] > learning_rate, "the warm-up goes on where it was"
    assert run.optimizer.state


def test_tensors_are_the_same_after_a_resume_with_another_number_of_processes(tmp_path: Path) -> None:
    augments = [SimpleAugmentConfig(), IntensityAugmentConfig((0.8, 1.2), (-0.1, 0.1)), NoiseAugmentConfig(1e-3)]
    trainer = TorchTrainerConfig("trainer", 1, 1e-3, 1, augments, warmup_iterations=2)
    whole = affinities_run_config(tmp_path, num_iterations=4, validation_interval=4, trainer_config=trainer)
    trainer = attrs.evolve(trainer, num_data_fetchers=2)
    first = attrs.evolve(whole, num_iterations=2, validation_interval=2, trainer_config=trainer)
    weights = []
    for base, configs in (("whole", [whole]), ("parts", [first, whole])):
        Options.reset()
        Options.instance(runs_base_dir=tmp_path / base)
        for config in configs:
            if config is not configs[0]:
                create_config_store().delete_run_config(config.name)
            create_config_store().store_run_config(config)
            train(config.name)
        weights.append(create_weights_store().retrieve_weights(whole.name, 4))
    Options.reset()
    assert all(torch.equal(value, weights[1].model[name]) for name, value in weights[0].model.items())
    assert_same_optimizer(weights[0].optimizer, weights[1].optimizer)


def test_statistics_that_end_before_the_checkpoint_are_an_error(options: DaCapoConfig, tmp_path: Path) -> None:
    config = affinities_run_config(tmp_path, num_iterations=2, validation_interval=2)
    create_config_store().store_run_config(config)
    train(config.name)
    create_stats_store().delete_training_stats(config.name)
    with pytest.raises(TrainingError, match="checkpoint of iteration 2 but statistics of only 0"):
        train(config.name)


def test_more_iterations_go_on_where_training_ended(options: DaCapoConfig, tmp_path: Path) -> None:
    config = affinities_run_config(tmp_path, num_iterations=2, validation_interval=2)
    create_config_store().store_run_config(config)
    train(config.name)
    create_config_store().delete_run_config(config.name)
    create_config_store().store_run_config(attrs.evolve(config, num_iterations=4))
    run = train(config.name)
    assert [s.iteration for s in run.training_stats.iteration_stats] == [0, 1, 2, 3]
    assert [s.iteration for s in run.validation_scores.scores] == [2, 4]
