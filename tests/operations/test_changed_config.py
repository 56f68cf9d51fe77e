"""A stored run whose config was changed does not go on with its old weights, whatever is asked of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs
import pytest
import yaml

from dacapo.apply import apply
from dacapo.errors import ConfigError
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.options import DaCapoConfig
from dacapo.predict import predict
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.store.yaml_files import read_yaml
from dacapo.train import train, train_run
from dacapo.validate import validate
from tests.helpers.runs import affinities_run_config, dummy_run_config, unet_config
from tests.helpers.volumes import new_volume


@pytest.fixture
def config(options: DaCapoConfig, tmp_path: Path) -> RunConfig:
    """A run of two iterations, trained and validated."""
    trainer = TorchTrainerConfig("trainer", batch_size=1, learning_rate=1e-3, num_data_fetchers=1)
    config = affinities_run_config(
        tmp_path, dims=2, num_iterations=2, trainer_config=trainer, architecture_config=unet_config(2)
    )
    create_config_store().store_run_config(config)
    train(config.name)
    return config


def store_anew(config: RunConfig) -> None:
    create_config_store().delete_run_config(config.name)
    create_config_store().store_run_config(config)


def test_nothing_uses_weights_of_another_config(config: RunConfig, options: DaCapoConfig, tmp_path: Path) -> None:
    file = options.runs_base_dir / "configs" / "runs" / f"{config.name}.yaml"
    edited = read_yaml(file)
    edited["task_config"]["background_as_object"] = True  # the network stays the same
    edited["num_iterations"] = 4
    file.write_text(yaml.safe_dump(edited))
    volume = new_volume(tmp_path)
    uses = {
        "train": lambda: train(config.name),
        "validate": lambda: validate(config.name, 2),
        "predict": lambda: predict(config.name, 2, volume.container, volume.dataset, tmp_path / "p.zarr"),
        "apply": lambda: apply(config.name, volume.container, volume.dataset, tmp_path / "a.zarr"),
    }
    for name, use in uses.items():
        with pytest.raises(ConfigError, match=r"task_config\.background_as_object was False and is True") as error:
            use()
        assert "store the changed one under another name" in str(error.value), name
    assert not (tmp_path / "p.zarr").exists()
    assert not (tmp_path / "a.zarr").exists()
    assert create_weights_store().latest_iteration(config.name) == 2

    # Who means it makes the same change in the record, as the error says.
    record = options.runs_base_dir / config.name / "checkpoints" / "config.yaml"
    record.write_text(record.read_text().replace("background_as_object: false", "background_as_object: true"))
    assert train(config.name).training_stats.trained_until() == 4


def test_a_longer_run_on_data_that_moved_goes_on(config: RunConfig, options: DaCapoConfig, tmp_path: Path) -> None:
    shutil.move(tmp_path / "train.zarr", tmp_path / "moved.zarr")
    plain = create_config_store().retrieve_run_config(config.name)
    longer = attrs.evolve(plain, num_iterations=4)
    (dataset,) = longer.datasplit_config.train_configs  # type: ignore[attr-defined]
    dataset.gt_config.file_name = tmp_path / "moved.zarr"
    dataset.raw_config.source_array_config.file_name = tmp_path / "moved.zarr"
    store_anew(longer)
    assert train(config.name).training_stats.trained_until() == 4
    record = read_yaml(options.runs_base_dir / config.name / "checkpoints" / "config.yaml")
    assert record["num_iterations"] == 4


def test_workers_that_get_no_data_split_predict(config: RunConfig, tmp_path: Path) -> None:
    volume = new_volume(tmp_path)
    alone = predict(config.name, 2, volume.container, volume.dataset, tmp_path / "1.zarr", num_workers=1)
    shared = predict(config.name, 2, volume.container, volume.dataset, tmp_path / "2.zarr", num_workers=2)
    assert alone.container != shared.container


def test_a_config_that_cannot_be_written_down_is_refused_before_training(options: DaCapoConfig, tmp_path: Path) -> None:
    config = dummy_run_config()
    config.trainer_config.mirror_augment = object()  # type: ignore[attr-defined]
    run = Run(config)
    with pytest.raises(ConfigError, match=r"trainer_config\.mirror_augment: expected true or false"):
        train_run(run)
    assert run.training_stats.trained_until() == 0
