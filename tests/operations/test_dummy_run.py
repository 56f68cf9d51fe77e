"""A run of dummies trains, validates and applies; and a run wires its parts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch

from dacapo.apply import apply
from dacapo.errors import ConfigError
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.starts import StartConfig
from dacapo.experiments.tasks import TaskConfig
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.options import ENVIRONMENT_VARIABLE, DaCapoConfig, Options
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.train import train, train_run
from tests.helpers.runs import dummy_run_config
from tests.helpers.volumes import write_array


def test_run_has_its_parts() -> None:
    config = dummy_run_config(num_iterations=20, validation_interval=10)
    run = Run(config)
    assert (run.name, run.train_until, run.validation_interval) == ("dummy", 20, 10)
    assert type(run.task).__name__ == "DummyTask"
    assert type(run.architecture).__name__ == "DummyArchitecture"
    assert type(run.trainer).__name__ == "DummyTrainer"
    assert type(run.datasplit).__name__ == "DummyDataSplit"
    assert type(run.model).__name__ == "Model"
    assert run.model.architecture is run.architecture
    assert isinstance(run.optimizer, torch.optim.Optimizer)
    assert run.training_stats.trained_until() == 0
    assert run.validation_scores.validated_until() == 0
    assert run.start is None


def test_same_run_has_the_same_first_weights_and_another_repetition_others() -> None:
    torch.manual_seed(1)
    first = Run(dummy_run_config()).model.state_dict()
    torch.manual_seed(2)
    second = Run(dummy_run_config()).model.state_dict()
    other = Run(attrs.evolve(dummy_run_config(), repetition=1)).model.state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


def test_building_a_run_leaves_the_global_random_state_alone() -> None:
    state = torch.get_rng_state()
    Run(dummy_run_config())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("changes", [{"num_iterations": 0}, {"validation_interval": 0}])
def test_run_refuses_impossible_numbers(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be at least 1"):
        Run(attrs.evolve(dummy_run_config(), **changes))


def test_validation_scores_without_building_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    config = dummy_run_config()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was built")

    monkeypatch.setattr(torch.nn.Conv3d, "__init__", refuse)
    scores = Run.get_validation_scores(config)
    assert scores.criteria == ["frizz_level", "blipp_score"]
    assert scores.validated_until() == 0
    with pytest.raises(AssertionError):
        Run(config)


@attrs.define
class AbstractTaskConfig(TaskConfig):
    """Names no task."""


def test_validation_scores_need_concrete_configs() -> None:
    config = attrs.evolve(dummy_run_config(), task_config=AbstractTaskConfig(name="none"))
    with pytest.raises(AssertionError, match="task_type"):
        Run.get_validation_scores(config)


def test_move_optimizer(options: DaCapoConfig) -> None:
    run = Run(dummy_run_config())
    sum(p.sum() for p in run.model.parameters()).backward()
    run.optimizer.step()
    run.move_optimizer(torch.device("meta"), empty_cuda_cache=True)
    tensors = [v for state in run.optimizer.state.values() for v in state.values() if torch.is_tensor(v)]
    assert tensors
    assert all(t.device.type == "meta" for t in tensors)
    run.optimizer.state[next(iter(run.model.parameters()))] = [1]  # type: ignore[assignment]
    with pytest.raises(AssertionError, match="expected a dictionary"):
        run.move_optimizer(torch.device("cpu"))
    run.optimizer.state = {"weight": [1]}  # type: ignore[assignment]
    with pytest.raises(AssertionError, match="state of 'weight' is a list"):
        run.move_optimizer(torch.device("cpu"))
    run.optimizer.state = []  # type: ignore[assignment]
    with pytest.raises(AssertionError, match="state of the optimizer is a list"):
        run.move_optimizer(torch.device("cpu"))


def test_start_loads_the_weights_of_another_run(options: DaCapoConfig) -> None:
    store = create_config_store()
    store.store_run_config(dummy_run_config("first"))
    first = train("first")
    create_weights_store().store_best("first", first.train_until, "any", "frizz_level")
    config = attrs.evolve(dummy_run_config("second"), start_config=StartConfig("first", "any/frizz_level"))
    started, random = Run(config), Run(config, load_starter_model=False)
    assert started.start is not None
    assert random.start is None
    trained = first.model.state_dict()
    assert all(torch.equal(trained[k], v) for k, v in started.model.state_dict().items())
    assert not all(torch.equal(trained[k], v) for k, v in random.model.state_dict().items())


def test_dummy_run_trains_and_applies_in_about_a_second(options: DaCapoConfig, tmp_path: Path) -> None:
    config = dummy_run_config()
    create_config_store().store_run_config(config)
    started = time.process_time()
    run = train("dummy")
    assert run.training_stats.trained_until() == 20
    assert create_stats_store().retrieve_training_stats("dummy").trained_until() == 20
    assert create_weights_store().latest_iteration("dummy") == 20
    raw = write_array(tmp_path / "raw.zarr", "raw", np.random.default_rng(0).random((40, 40, 40)).astype(np.float32))
    parameters = next(iter(run.task.parameters))
    applied = apply("dummy", raw.container, raw.dataset, tmp_path / "out", iteration=20, parameters=parameters)
    assert (applied.output.container / applied.output.dataset).is_dir()
    assert "as given" in applied.selection.reason
    assert time.process_time() - started < 30, "generous, for a slow machine"


def test_training_again_does_nothing_more(options: DaCapoConfig) -> None:
    create_config_store().store_run_config(dummy_run_config())
    train("dummy")
    before = create_weights_store().retrieve_weights("dummy", 20).model
    run = train("dummy")
    assert run.training_stats.trained_until() == 20
    assert all(torch.equal(before[k], v) for k, v in run.model.state_dict().items())


def test_config_survives_the_store(options: DaCapoConfig) -> None:
    store = create_config_store()
    store.store_run_config(dummy_run_config())
    assert store.retrieve_run_config("dummy") == dummy_run_config()
    assert isinstance(store.retrieve_run_config("dummy"), RunConfig)


def test_an_operation_keeps_the_settings_that_it_began_with(options: DaCapoConfig, tmp_path: Path) -> None:
    run = Run(dummy_run_config(num_iterations=4, validation_interval=2))
    iterate = run.trainer.iterate

    def change_settings(*args: Any) -> Iterator[TrainingIterationStats]:
        Path(os.environ[ENVIRONMENT_VARIABLE]).write_text(f"runs_base_dir: {tmp_path / 'other'}\n")
        yield from iterate(*args)

    run.trainer.iterate = change_settings  # type: ignore[method-assign, assignment]
    train_run(run)
    assert create_weights_store(options).latest_iteration(run.name) == 4
    assert not (tmp_path / "other").exists()
    assert Options.instance().runs_base_dir == tmp_path / "other"
