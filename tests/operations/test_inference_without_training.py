"""Prediction needs the model of a run: neither its trainer nor its optimizer, nor their states."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate

from dacapo.apply import apply
from dacapo.blockwise import predict_worker
from dacapo.errors import ConfigError
from dacapo.experiments.datasplits import DummyDataSplitConfig
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.selection import select
from dacapo.experiments.trained_model import TrainedModel
from dacapo.experiments.trainers import TrainerConfig
from dacapo.experiments.trainers.gp_augments import IntensityScaleShiftAugmentConfig
from dacapo.options import DaCapoConfig
from dacapo.predict import predict
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.validate import validate
from tests.helpers.runs import affinities_run_config, unet_config
from tests.helpers.untrainable import FORBIDDEN, ForbiddenTrainerConfig
from tests.helpers.volumes import stored_values, write_array


@pytest.fixture
def config(options: DaCapoConfig, tmp_path: Path) -> RunConfig:
    trainer = ForbiddenTrainerConfig(
        name="forbidden",
        batch_size=1,
        learning_rate=1e-4,
        augments=[IntensityScaleShiftAugmentConfig(scale=2.0, shift=-1.0)],
    )
    config = affinities_run_config(tmp_path, dims=2, architecture_config=unet_config(2), trainer_config=trainer)
    create_config_store().store_run_config(config)
    create_weights_store().store_weights(Run(config), 1)
    return config


@pytest.fixture
def source(tmp_path: Path) -> LocalArrayIdentifier:
    values = np.random.default_rng(0).integers(0, 256, (61, 53)).astype(np.uint8)
    return write_array(tmp_path / "new.zarr", "raw", values, Coordinate(4, 4), Coordinate(40, 40))


def forbid_training(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    """Make trainers raise, and leave states of optimizer and trainer in a checkpoint that fit nothing."""
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "optimizer": {"state": "of nothing"}, "trainer": {"of": "another kind"}}, checkpoint)
    monkeypatch.setenv(FORBIDDEN, "1")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(2)))


def install_plugin(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let worker processes know the config of the trainer, as that of an installed package."""
    info = folder / "untrainable-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: untrainable\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[dacapo.plugins]\nuntrainable = tests.helpers.untrainable\n")
    monkeypatch.syspath_prepend(folder)  # workers look where this process does


def checkpoint_of(config: RunConfig, options: DaCapoConfig) -> Path:
    return Path(options.runs_base_dir) / config.name / "checkpoints" / "iterations" / "1"


@pytest.mark.parametrize("num_workers", [1, 2])
def test_prediction_builds_no_trainer(
    config: RunConfig,
    source: LocalArrayIdentifier,
    options: DaCapoConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_workers: int,
) -> None:
    trained = Run(config)
    create_weights_store().load_weights(trained, 1)
    expected = predict(trained, 1, source.container, source.dataset, tmp_path / "run.zarr", output_dtype=np.float32)

    install_plugin(monkeypatch, tmp_path / "site")
    forbid_training(monkeypatch, checkpoint_of(config, options))
    with pytest.raises(AssertionError, match="a trainer was built"):
        Run(config)
    got = predict(
        config.name, 1, source.container, source.dataset, tmp_path / "got.zarr", None, num_workers, np.float32
    )

    # Other blocks, other rounding.
    np.testing.assert_allclose(stored_values(expected), stored_values(got), atol=1e-6)


@pytest.mark.parametrize(
    "wanted", [{}, {"iteration": 1, "parameters": "WatershedPostProcessorParameters(id=3, bias=0.75)"}]
)
def test_applying_builds_no_trainer_and_opens_no_training_data(
    config: RunConfig,
    source: LocalArrayIdentifier,
    options: DaCapoConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wanted: dict[str, Any],
) -> None:
    validate(config.name, 1)
    expected = apply(Run(config), source.container, source.dataset, tmp_path / "run.zarr", **wanted)

    forbid_training(monkeypatch, checkpoint_of(config, options))
    for kind in ("train", "validate"):
        shutil.rmtree(tmp_path / f"{kind}.zarr")
    got = apply(config.name, source.container, source.dataset, tmp_path / "got.zarr", **wanted)

    assert got.selection == expected.selection
    np.testing.assert_array_equal(stored_values(expected.output), stored_values(got.output))


def test_scores_name_the_datasets_that_a_config_does_not_list(config: RunConfig) -> None:
    validate(config.name, 1)
    config.datasplit_config = DummyDataSplitConfig(name="lists nothing")
    assert select(TrainedModel.of(config), validation_dataset="validate").iteration == 1


def test_a_worker_of_a_task_of_ones_own_builds_no_trainer(
    config: RunConfig,
    source: LocalArrayIdentifier,
    options: DaCapoConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = predict(config.name, 1, source.container, source.dataset, tmp_path / "out.zarr")
    forbid_training(monkeypatch, checkpoint_of(config, options))
    assert callable(
        predict_worker.open_worker(config.name, 1, source.container, source.dataset, output.container, output.dataset)
    )


def test_raw_values_are_changed_as_the_trainer_does_it(config: RunConfig) -> None:
    raw = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    run, trained = Run(config), TrainedModel.of(config)
    np.testing.assert_array_equal(trained.prepare_input(raw), raw * 2 - 1)
    np.testing.assert_array_equal(trained.prepare_input(raw), run.trainer.prepare_input(raw))
    np.testing.assert_array_equal(TrainedModel.of(run).prepare_input(raw), raw * 2 - 1)


def test_a_trainer_that_prepares_input_by_itself_is_asked(config: RunConfig) -> None:
    # Nothing but the trainer of another package may know what it does to its samples.
    assert TrainerConfig.input_preparation(config.trainer_config)(np.ones(3)).tolist() == [1.0, 1.0, 1.0]
    config.trainer_config.augments = [IntensityScaleShiftAugmentConfig(scale=3.0, shift=0.0)]
    assert TrainerConfig.input_preparation(config.trainer_config)(np.ones(3)).tolist() == [3.0, 3.0, 3.0]


def test_a_model_without_weights_is_refused(config: RunConfig) -> None:
    with pytest.raises(ConfigError, match="say which iteration"):
        TrainedModel.load(config.name, None)
