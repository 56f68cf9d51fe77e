"""Weights that are averaged over iterations: what is validated, stored, started from, and trained further."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from dacapo.errors import ConfigError
from dacapo.experiments import replace_config
from dacapo.experiments.architectures import ResidualUNetConfig
from dacapo.experiments.fit import check_training
from dacapo.experiments.loggers import Loggers
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.starts import StartConfig
from dacapo.experiments.trained_model import TrainedModel
from dacapo.experiments.trainers import SimpleAugmentConfig, TorchTrainerConfig
from dacapo.options import DaCapoConfig, Options
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.store.weights_store import Weights
from dacapo.train import _validate, train
from dacapo.validate import validate
from tests.helpers.runs import affinities_run_config

NAME = "averaged"


def config(folder: Path, until: int = 4, decay: float | None = 0.6) -> RunConfig:
    trainer = TorchTrainerConfig("trainer", 1, 1e-2, 1, [SimpleAugmentConfig()], warmup_iterations=0, ema_decay=decay)
    return affinities_run_config(folder, NAME, 2, until, validation_interval=2, trainer_config=trainer)


def train_to(run_config: RunConfig) -> Run:
    store = create_config_store()
    if NAME in store.retrieve_run_config_names():
        store.delete_run_config(NAME)
    store.store_run_config(run_config)
    return train(NAME)


def same(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Weights, dict[str, torch.Tensor], Any]:
    """A folder of data and runs, the last checkpoint of a training, its model in memory, and its scores."""
    folder = tmp_path_factory.mktemp("averaged")
    Options.reset()
    Options.instance(runs_base_dir=folder / "runs")
    run = train_to(config(folder))
    weights = create_weights_store().retrieve_weights(NAME, 4)
    scores = [scores.scores for scores in run.validation_scores.scores]
    Options.reset()
    return folder, weights, run.model.state_dict(), scores


def test_the_average_is_stored_and_left_in_the_model(trained: Any) -> None:
    _, weights, model, _ = trained
    assert same(weights.model, model)
    kept = weights.trainer["weight_average"]
    assert (kept["updates"], kept["is_shown"]) == (4, True)
    assert kept["kept"].keys() < weights.model.keys()
    assert not same(kept["kept"], {name: model[name] for name in kept["kept"]})


def test_a_resumed_training_is_the_same_to_the_last_bit(trained: Any, options: DaCapoConfig) -> None:
    folder, weights, _, scores = trained
    train_to(config(folder, until=2))
    run = train_to(config(folder, until=4))
    resumed = create_weights_store().retrieve_weights(NAME, 4)
    assert same(resumed.model, weights.model)
    assert same(resumed.trainer["weight_average"]["kept"], weights.trainer["weight_average"]["kept"])
    assert [scores.scores for scores in run.validation_scores.scores] == scores


def test_running_means_of_a_normalization_are_averaged_and_resumed(options: DaCapoConfig, tmp_path: Path) -> None:
    network = ResidualUNetConfig("net", (16, 24), 1, 4, [4, 6], [(2, 2), (2, 2)])
    found = []
    for stops in ([4], [2, 4]):
        for until in stops:
            train_to(attrs.evolve(config(tmp_path, until), architecture_config=network))
        found.append(create_weights_store().retrieve_weights(NAME, 4))
        create_weights_store().remove(NAME, 4)
    whole, resumed = found
    kept = whole.trainer["weight_average"]["kept"]
    means = [name for name in kept if name.endswith("running_mean")]
    assert means
    assert not any(torch.equal(whole.model[name], kept[name]) for name in means)
    assert same(whole.model, resumed.model)
    assert same(kept, resumed.trainer["weight_average"]["kept"])


def test_the_average_is_validated_loaded_and_started_from(trained: Any, tmp_path: Path) -> None:
    folder, weights, _, scores = trained
    Options.instance(runs_base_dir=folder / "runs")
    try:
        stored = create_stats_store().retrieve_validation_iteration_scores(NAME)
        assert [scores.scores for scores in stored] == scores
        assert validate(NAME, 4).scores == scores[-1]
        assert same(TrainedModel.load(NAME, 4).model.state_dict(), weights.model)
        start = StartConfig(run=NAME, criterion="latest")
        other = Run(attrs.evolve(config(folder), name="other", start_config=start))
        assert same(other.model.state_dict(), weights.model)
    finally:
        Options.reset()


def copied(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@contextmanager
def being_trained(folder: Path) -> Iterator[Run]:
    """Give a run in its training, after two iterations of which nothing is stored."""
    run = Run(config(folder))
    check_training(run)
    with run.trainer:
        for stats in run.trainer.iterate(2, run.model, run.optimizer, torch.device("cpu")):
            run.training_stats.add_iteration_stats(stats)
        yield run


def test_a_process_that_stores_no_checkpoint_validates_the_average(options: DaCapoConfig, tmp_path: Path) -> None:
    """Storing gives the model its average, but of several ranks only the first one stores."""
    with being_trained(tmp_path) as run:
        create_weights_store().store_weights(run, 2)
    average = create_weights_store().retrieve_weights(NAME, 2).model
    predicted_with: list[dict[str, torch.Tensor]] = []

    def look(model: torch.nn.Module, _: Any) -> None:
        if not any(parameter.is_meta for parameter in model.parameters()):  # an estimate of memory
            predicted_with.append(copied(model))

    with being_trained(tmp_path) as run:
        assert not same(copied(run.model), average)
        run.model.register_forward_pre_hook(look)
        _validate(run, Loggers([]))
    assert predicted_with
    assert all(same(weights, average) for weights in predicted_with)


def test_an_average_can_begin_and_end_in_a_run_whose_config_is_replaced(options: DaCapoConfig, tmp_path: Path) -> None:
    store = create_weights_store()
    train_to(config(tmp_path, until=2, decay=None))
    assert "weight_average" not in store.retrieve_weights(NAME, 2).trainer
    with pytest.raises(ConfigError, match=r"trainer_config\.ema_decay was None and is 0\.6"):
        train_to(config(tmp_path, until=4))
    replace_config(config(tmp_path, until=4))
    train(NAME)
    averaged = store.retrieve_weights(NAME, 4).trainer["weight_average"]
    assert averaged["updates"] == 2

    plain = config(tmp_path, until=5, decay=None)
    replace_config(attrs.evolve(plain, trainer_config=attrs.evolve(plain.trainer_config, learning_rate=1e-12)))
    train(NAME)
    last = store.retrieve_weights(NAME, 5)
    assert "weight_average" not in last.trainer
    for name, value in averaged["kept"].items():  # training went on from the weights that were not averaged
        torch.testing.assert_close(last.model[name], value, rtol=1e-6, atol=1e-8)
