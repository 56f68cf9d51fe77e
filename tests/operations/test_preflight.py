"""Training looks at its data once, before the first iteration; ``dacapo doctor`` does so at any time."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from click.testing import CliRunner, Result

from dacapo.cli import cli
from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArrayConfig
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.tasks import OneHotTaskConfig
from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.options import DaCapoConfig
from dacapo.store.converter import to_plain
from dacapo.store.create_store import create_config_store, create_stats_store
from dacapo.store.yaml_files import dump_yaml
from dacapo.train import train, train_run
from tests.helpers.runs import affinities_run_config

TRAIN = "datasplit_config.train_configs[0]"


def run_config(folder: Path, **changes: Any) -> RunConfig:
    trainer = TorchTrainerConfig("trainer", batch_size=1, learning_rate=1e-3, num_data_fetchers=1)
    config = affinities_run_config(folder, dims=2, num_iterations=2, validation_interval=4, trainer_config=trainer)
    config = attrs.evolve(config, **changes)
    create_config_store().store_run_config(config)
    return config


def on_instances(folder: Path) -> RunConfig:
    """Return a run that learns classes from ids of objects."""
    classes = OneHotTaskConfig("one_hot", classes=["background", "cell"], clip_distance=40.0, tol_distance=8.0)
    return run_config(folder, task_config=classes)


def with_bytes_as_they_are(folder: Path) -> RunConfig:
    config = run_config(folder)
    for dataset in config.datasplit_config.train_configs:
        dataset.raw_config = dataset.raw_config.source_array_config
    return attrs.evolve(config, name="unscaled")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


def doctor(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["doctor", *map(str, arguments)])


def test_classes_from_ids_of_objects_are_not_trained(options: DaCapoConfig, tmp_path: Path) -> None:
    config = on_instances(tmp_path)
    with pytest.raises(ConfigError, match=rf"^{TRAIN}\.gt_config: .* not among the 2 classes".replace("[0]", r"\[0\]")):
        train(config.name)
    assert create_stats_store().retrieve_training_stats(config.name).trained_until() == 0


def test_refused_data_can_be_trained_on_nevertheless(options: DaCapoConfig, tmp_path: Path) -> None:
    config = on_instances(tmp_path)
    assert train(config.name, check=False).training_stats.trained_until() == 2


def test_option_of_the_command_line(options: DaCapoConfig, tmp_path: Path) -> None:
    config = on_instances(tmp_path)
    refused = CliRunner().invoke(cli, ["train", config.name])
    assert refused.exit_code == 1
    assert refused.stderr.splitlines()[-1].startswith(f"Error: {TRAIN}.gt_config: training dataset 'train': ")
    assert CliRunner().invoke(cli, ["train", "--no-check", config.name]).exit_code == 0


def test_odd_data_is_logged_once(options: DaCapoConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = with_bytes_as_they_are(tmp_path)
    train_run(Run(config))
    assert [message for message in warnings(caplog) if message.startswith(f"{TRAIN}.raw_config: ")]
    caplog.clear()
    train_run(Run(attrs.evolve(config, num_iterations=3)))
    assert not warnings(caplog)


def test_good_data_logs_nothing(options: DaCapoConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train_run(Run(run_config(tmp_path)))
    assert not warnings(caplog)


def test_data_that_tensorstore_reads_is_looked_at_before_processes_are_forked(
    options: DaCapoConfig, tmp_path: Path
) -> None:
    import tensorstore

    values = np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8)
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{tmp_path}/three.zarr/raw/"}}
    opened = tensorstore.open(spec, create=True, dtype=tensorstore.uint8, shape=[40, 40]).result()
    opened[...] = values
    header = tmp_path / "three.zarr" / "raw" / "zarr.json"
    place = {"axes": ["y", "x"], "voxel_size": [4, 4], "offset": [40, 40]}
    header.write_text(json.dumps({**json.loads(header.read_text()), "attributes": place}))
    config = run_config(tmp_path)
    for dataset in config.datasplit_config.train_configs:
        dataset.raw_config.source_array_config = ZarrArrayConfig("three", tmp_path / "three.zarr", "raw")
    trainer = attrs.evolve(config.trainer_config, num_data_fetchers=2)
    run = train_run(Run(attrs.evolve(config, name="three", trainer_config=trainer)))
    assert run.training_stats.trained_until() == 2


def test_doctor_prints_a_table(options: DaCapoConfig, tmp_path: Path) -> None:
    result = doctor(run_config(tmp_path).name)
    assert result.exit_code == 0
    assert "0 errors, 0 warnings" in result.stdout.splitlines()[-1]


def test_doctor_prints_json_and_fails_on_errors(options: DaCapoConfig, tmp_path: Path) -> None:
    result = doctor("--json", on_instances(tmp_path).name)
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert not report["ok"]
    assert {finding["check"] for finding in report["findings"] if finding["level"] == "error"} == {"ids beyond classes"}


def test_doctor_reads_files(options: DaCapoConfig, tmp_path: Path) -> None:
    config = on_instances(tmp_path)
    for name, part in (("run", config), ("data", config.datasplit_config)):
        (tmp_path / f"{name}.yaml").write_text(dump_yaml(to_plain(part)))
    run, data = doctor(tmp_path / "run.yaml"), doctor(tmp_path / "data.yaml")
    assert (run.exit_code, data.exit_code) == (1, 0)  # without a task, ids may be anything
    assert "ids beyond classes" in run.stdout


def test_doctor_knows_no_such_run(options: DaCapoConfig) -> None:
    result = doctor("no_such_run")
    assert result.exit_code == 1
    assert "no_such_run" in result.stderr
