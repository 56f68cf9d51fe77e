"""Stored runs are opened as they are, lengthened, and changed on purpose."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import attrs
import pytest
import torch
from click.testing import CliRunner

from dacapo.cli import cli
from dacapo.errors import CheckpointNotFoundError, ConfigError, ConfigNotFoundError, NotFoundError
from dacapo.experiments import Run, RunConfig, replace_config
from dacapo.experiments.tasks import OneHotTaskConfig
from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.options import DaCapoConfig, Options
from dacapo.store.converter import to_plain
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.store.yaml_files import dump_yaml, read_yaml
from dacapo.train import train, train_run
from tests.helpers.runs import affinities_run_config, unet_config

TRAINER = TorchTrainerConfig(
    "trainer", batch_size=1, learning_rate=1e-3, num_data_fetchers=1, warmup_iterations=0, decay_iterations=4
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stores of a run of four iterations, validated after every second."""
    folder = tmp_path_factory.mktemp("trained")
    architecture = unet_config(2)
    with Options.override(runs_base_dir=folder / "runs"):
        config = affinities_run_config(
            folder,
            dims=2,
            num_iterations=4,
            validation_interval=2,
            trainer_config=TRAINER,
            architecture_config=architecture,
        )
        create_config_store().store_run_config(config)
        train(config.name)
    return folder / "runs"


@pytest.fixture
def config(options: DaCapoConfig, trained: Path) -> RunConfig:
    shutil.copytree(trained, options.runs_base_dir)
    return create_config_store().retrieve_run_config("affinities")


def weights_of(iteration: int) -> dict[str, torch.Tensor]:
    return dict(create_weights_store().retrieve_weights("affinities", iteration).model)


def assert_weights(run: Run, iteration: int) -> None:
    stored = weights_of(iteration)
    assert all(torch.equal(value, stored[name]) for name, value in run.model.state_dict().items())


def changed(config: RunConfig, part: str, **values: object) -> RunConfig:
    return attrs.evolve(config, **{part: attrs.evolve(getattr(config, part), **values)})  # type: ignore[arg-type]


def test_a_stored_run_is_opened_with_all_that_it_has(config: RunConfig) -> None:
    run = Run.open("affinities")
    assert repr(run) == "Run('affinities', trained 4 of 4)"
    assert [scores.iteration for scores in run.validation_scores.scores] == [2, 4]
    assert_weights(run, 4)
    assert run.trainer.iteration == 4
    optimizer = create_weights_store().retrieve_weights("affinities", 4).optimizer
    assert run.optimizer.state_dict()["state"].keys() == optimizer["state"].keys() != set()

    earlier = Run.open("affinities", iteration=2)
    assert_weights(earlier, 2)
    assert earlier.training_stats.trained_until() == 4
    voi = {s.iteration: min(row[-1] for row in s.scores[0]) for s in run.validation_scores.scores}
    criterion = run.validation_scores.criteria[-1]
    assert_weights(Run.open("affinities", best=criterion), min(voi, key=lambda i: (voi[i], i)))
    assert_weights(Run.open("affinities", best=f"validate/{criterion}"), min(voi, key=lambda i: (voi[i], i)))

    for wrong, error, message in (
        ({"iteration": 3}, CheckpointNotFoundError, "stored are 2, 4"),
        ({"iteration": 2, "best": True}, ConfigError, "give one of them"),
        ({"best": "nonsense"}, NotFoundError, "unknown criterion 'nonsense'"),
    ):
        with pytest.raises(error, match=message):
            Run.open("affinities", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigNotFoundError, match="did you mean 'affinities'"):
        Run.open("affinitie")


def test_a_run_is_opened_by_its_folder_and_continued_only_there(
    config: RunConfig, options: DaCapoConfig, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.move(options.runs_base_dir, moved)
    run = Run.open(moved / "affinities")
    assert run.training_stats.trained_until() == 4
    for use in (lambda: train_run(run), lambda: run.lengthen(5)):
        with pytest.raises(ConfigError, match=r"opened from .*moved, but the options store runs in .*runs; continue"):
            use()
    with Options.override(runs_base_dir=moved):
        assert train_run(run.lengthen(5)).training_stats.trained_until() == 5
    shutil.rmtree(moved / "configs")
    assert Run.open(str(moved / "affinities")).config.num_iterations == 5  # by the record with the checkpoints
    with pytest.raises(ConfigNotFoundError, match="not the folder of a run"):
        Run.open(moved)


def test_an_untrained_run_is_opened_as_it_begins(options: DaCapoConfig, tmp_path: Path) -> None:
    config = affinities_run_config(tmp_path, dims=2, architecture_config=unet_config(2))
    create_config_store().store_run_config(config)
    assert Run.open(config.name).training_stats.trained_until() == 0
    with pytest.raises(CheckpointNotFoundError, match="none is stored"):
        Run.open(config.name, iteration=0)


def test_a_run_is_lengthened_in_the_store_too(config: RunConfig, caplog: pytest.LogCaptureFixture) -> None:
    run = Run.open("affinities")
    with pytest.raises(ConfigError, match="3 does not lengthen"):
        run.lengthen(3)
    with caplog.at_level(logging.WARNING, "dacapo"):
        assert run.lengthen(6) is run
    assert "lowest value from iteration 4 on" in caplog.text
    assert create_config_store().retrieve_run_config("affinities").num_iterations == 6
    assert train("affinities").training_stats.trained_until() == 6
    done = CliRunner().invoke(cli, ["train", "affinities", "--iterations", "7"])
    assert done.output.splitlines()[-1] == "affinities: trained 7 of 7 iterations"
    assert CliRunner().invoke(cli, ["train", "affinities", "--iterations", "3"]).exit_code == 1
    assert repr(run) == "Run('affinities', trained 4 of 6)"

    other = Run(changed(config, "trainer_config", learning_rate=0.5))
    with pytest.raises(ConfigError, match=r"trainer_config\.learning_rate was 0\.001 and is 0\.5; open"):
        other.lengthen(9)
    assert create_config_store().retrieve_run_config("affinities").num_iterations == 7


def test_a_config_is_replaced_on_purpose_and_the_old_one_kept(config: RunConfig, options: DaCapoConfig) -> None:
    new = changed(attrs.evolve(config, num_iterations=6), "trainer_config", learning_rate=0.5, decay_iterations=None)
    with pytest.raises(ConfigError, match=r"learning_rate was 0\.001 and is 0\.5.*replace_config\(config\)"):
        train_run(Run(new))
    places = [change.place for change in replace_config(new)]
    assert places == ["trainer_config.learning_rate", "trainer_config.decay_iterations", "num_iterations"]
    record = options.runs_base_dir / "affinities" / "checkpoints" / "config.yaml"
    assert read_yaml(record)["trainer_config"]["learning_rate"] == 0.5
    kept = record.with_name("config.yaml.1")
    assert "until iteration 4" in kept.read_text()
    assert read_yaml(kept)["trainer_config"]["learning_rate"] == 1e-3
    run = train("affinities")
    assert run.training_stats.trained_until() == 6
    assert run.optimizer.param_groups[0]["lr"] == 0.5  # whatever rate the checkpoint was saved with
    assert [scores.iteration for scores in run.validation_scores.scores] == [2, 4, 6]
    assert replace_config(new) == []
    assert not record.with_name("config.yaml.2").exists()


def test_a_config_that_the_checkpoints_do_not_fit_replaces_nothing(config: RunConfig) -> None:
    with pytest.raises(ConfigError, match=r"do not fit|does not fit"):
        replace_config(changed(config, "architecture_config", num_fmaps=5))
    with pytest.raises(ConfigNotFoundError):
        replace_config(attrs.evolve(config, name="unknown"))
    assert create_config_store().retrieve_run_config("affinities") == config
    biases = changed(config, "task_config", biases=[0.5])
    with pytest.raises(ConfigError, match="drop_scores=True"):
        replace_config(biases)
    assert create_config_store().retrieve_run_config("affinities") == config
    replace_config(biases, drop_scores=True)
    assert create_stats_store().retrieve_validation_iteration_scores("affinities") == []
    assert_weights(Run.open("affinities"), 4)


def test_the_command_lists_the_differences_and_asks(config: RunConfig, tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    file.write_text(dump_yaml(to_plain(changed(config, "trainer_config", learning_rate=0.5))))
    refused = CliRunner().invoke(cli, ["config", "replace", str(file)], input="n\n")
    assert refused.exit_code == 1
    assert refused.output.startswith("trainer_config.learning_rate was 0.001 and is 0.5\nReplace the config of run")
    assert create_config_store().retrieve_run_config("affinities") == config
    done = CliRunner().invoke(cli, ["config", "replace", str(file), "--yes"])
    assert done.output.endswith("replaced the config of run affinities\n")
    assert (
        CliRunner().invoke(cli, ["config", "replace", str(file)]).output == "run affinities has this config already\n"
    )
    file.write_text(dump_yaml(to_plain(OneHotTaskConfig("task", ["a"]))))
    assert "expected the config of a run" in CliRunner().invoke(cli, ["config", "replace", str(file)]).output
