"""Loggers follow a training: what they log, once, and what happens if one fails."""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest

from dacapo.commands.runs import train as train_command
from dacapo.errors import ConfigError, DuplicateNameError, LoggerError, MissingDependencyError
from dacapo.experiments.loggers import Logger, make_loggers
from dacapo.experiments.loggers.public_config import public_config
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.tasks import OneHotTaskConfig
from dacapo.options import DaCapoConfig, Options
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.train import train
from tests.helpers.runs import affinities_run_config
from tests.helpers.wandb_logs import history_of

SECRET = "0123456789abcdef0123456789abcdef01234567"


class Recorder(Logger):
    """Keeps all values, and fails when it is told to."""

    fails_at: ClassVar[tuple[str, int]] = ("nothing", 0)

    def __init__(self) -> None:
        self.values: list[tuple[int, dict[str, float]]] = []
        self.ends: list[bool] = []

    def log_values(self, values: Mapping[str, float], step: int) -> None:
        name = "loss" if "loss" in values else "validation"
        if self.fails_at == (name, step):
            raise OSError("the disk of the logs is full")
        self.values.append((step, dict(values)))

    def finish(self, run: Run, failed: bool) -> None:
        self.ends.append(failed)


def stored_config(folder: Path, **changes: Any) -> RunConfig:
    config = affinities_run_config(folder, dims=2, num_iterations=6, validation_interval=3)
    trainer = attrs.evolve(config.trainer_config, snapshot_interval=2)
    config = attrs.evolve(config, trainer_config=trainer, **changes)
    create_config_store().store_run_config(config)
    return config


def train_until_killed(name: str, logger: str, iteration: int) -> None:
    """Train until an iteration is logged, and end there without saving it."""

    class Killer(Recorder):
        def log_values(self, values: Mapping[str, float], step: int) -> None:
            if step == iteration:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(name, loggers=[logger, Killer()])


def events_of(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """Return what TensorBoard shows of a log, by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()
    found = defaultdict(list)
    for name in log.Tags()["scalars"]:
        found[name] = [(event.step, event.value) for event in log.Scalars(name)]
    for name in log.Tags()["images"]:
        found[name] = [(event.step, event.encoded_image_string) for event in log.Images(name)]
    for name in log.Tags()["tensors"]:
        found[name] = [(event.step, event.tensor_proto.string_val[0].decode()) for event in log.Tensors(name)]
    return found


def test_what_a_logger_gets(options: DaCapoConfig, tmp_path: Path) -> None:
    recorder = Recorder()
    run = train(stored_config(tmp_path).name, loggers=recorder)
    losses = [(step, values) for step, values in recorder.values if "loss" in values]
    assert [step for step, _ in losses] == [1, 2, 3, 4, 5, 6]
    assert [values["loss"] for _, values in losses] == [stats.loss for stats in run.training_stats.iteration_stats]
    assert losses[-1][1]["learning_rate"] == run.optimizer.param_groups[0]["lr"]
    validations = [(step, values) for step, values in recorder.values if "loss" not in values]
    assert [step for step, _ in validations] == [3, 6]
    criteria = run.validation_scores.criteria
    first = np.array(run.validation_scores.scores[0].scores)[0, :, criteria.index("voi")]
    assert validations[0][1]["validation/voi"] == validations[0][1]["validation/validate/voi"] == first.min()
    parameters = str(next(iter(run.task.parameters)))
    assert validations[0][1][f"parameters/validate/voi/{parameters}"] == first[0]
    assert recorder.ends == [False]


@pytest.mark.parametrize("kind", ["loss", "validation"])
def test_a_failing_logger_ends_a_saved_training(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(Recorder, "fails_at", (kind, 3 if kind == "validation" else 2))
    name, recorder, other = stored_config(tmp_path).name, Recorder(), Recorder()
    with pytest.raises(LoggerError, match=r"logger 'Recorder' failed: OSError: the disk of the logs is full\. The tr"):
        train(name, loggers=[recorder])
    assert recorder.ends == [True]
    reached = 3 if kind == "validation" else 2
    assert create_weights_store().latest_iteration(name) == reached
    assert create_stats_store().retrieve_training_stats(name).trained_until() == reached
    assert len(create_stats_store().retrieve_validation_iteration_scores(name)) == reached - 2
    monkeypatch.setattr(Recorder, "fails_at", ("nothing", 0))
    assert train(name, loggers=[other]).training_stats.trained_until() == 6
    assert [step for step, values in other.values if "loss" in values] == list(range(reached + 1, 7))


def test_tensorboard_goes_on_in_the_same_log(options: DaCapoConfig, tmp_path: Path) -> None:
    name = stored_config(tmp_path).name
    train_until_killed(name, "tensorboard", 5)
    assert create_weights_store().latest_iteration(name) == 3
    run = train(name, loggers="tensorboard")
    shown = events_of(options.runs_base_dir / name / "tensorboard")
    losses = [stats.loss for stats in run.training_stats.iteration_stats]
    assert [step for step, _ in shown["loss"]] == [1, 2, 3, 4, 5, 6]
    assert [value for _, value in shown["loss"]] == pytest.approx(losses)
    assert [step for step, _ in shown["learning_rate"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in shown["validation/voi"]] == [3, 6]
    assert "PostProcessorParameters" in shown["validation/best/text_summary"][0][1]
    assert "num_iterations: 6" in shown["config/text_summary"][0][1]
    for image in ("raw", "gt", "target", "prediction"):
        assert [step for step, _ in shown[f"snapshot/{image}"]] == [1, 3, 5]
        assert len({png for _, png in shown[f"snapshot/{image}"]}) > 1
    train(name, loggers="tensorboard")
    assert [step for step, _ in events_of(options.runs_base_dir / name / "tensorboard")["loss"]] == [1, 2, 3, 4, 5, 6]


def test_wandb_goes_on_in_the_same_run(options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_API_KEY": SECRET}.items():
        monkeypatch.setenv(variable, value)
    name = stored_config(tmp_path).name
    train_until_killed(name, "wandb", 5)
    run = train(name, loggers="wandb")
    folder = options.runs_base_dir / name
    rows = list(history_of(folder))
    assert len({log for log, _ in rows}) == 1
    losses = {int(row["step"]): float(row["loss"]) for _, row in rows if "loss" in row}
    assert len([row for _, row in rows if "loss" in row]) == 6
    assert losses == {stats.iteration + 1: stats.loss for stats in run.training_stats.iteration_stats}
    assert [row["step"] for _, row in rows if "validation/voi" in row] == ["3", "6"]
    assert [row["step"] for _, row in rows if "snapshot/raw/path" in row] == ["1", "3", "5"]
    files = [path for path in options.runs_base_dir.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert SECRET not in repr(make_loggers("wandb")) + repr(Options.instance())


def test_addresses_in_a_logged_config_have_no_secrets(tmp_path: Path) -> None:
    config = affinities_run_config(tmp_path, dims=2)
    raw = attrs.evolve(
        config.datasplit_config.train_configs[0].raw_config.source_array_config,
        file_name=Path("https://me:hidden@server/raw.zarr?key=hidden"),
    )
    intensities = attrs.evolve(config.datasplit_config.train_configs[0].raw_config, source_array_config=raw)
    data = attrs.evolve(config.datasplit_config.train_configs[0], raw_config=intensities)
    split = attrs.evolve(config.datasplit_config, train_configs=[data])
    plain = public_config(Run(attrs.evolve(config, datasplit_config=split)))
    assert "hidden" not in str(plain)
    assert "https://server/raw.zarr" in str(plain)
    assert str(tmp_path / "validate.zarr") in str(plain)


def test_the_option_names_loggers(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    task = OneHotTaskConfig(name="classes", classes=[str(label) for label in range(12)])
    name = stored_config(tmp_path, task_config=task, num_iterations=1).name
    made = []
    monkeypatch.setattr(Recorder, "start", lambda self, run: made.append(self))
    with Options.override(loggers=["Recorder"]), caplog.at_level(logging.INFO):
        train(name)
    assert [step for step, _ in made[0].values] == [1, 1]
    with pytest.raises(ConfigError, match=r"loggers must be a list of names such as \[tensorboard\], got 'wandb'"):
        Options.override(loggers="wandb").__enter__()


def test_an_unknown_logger_is_refused_before_anything_else(options: DaCapoConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown logger 'tensorbord'; known are .*tensorboard.*wandb"):
        train(stored_config(tmp_path).name, loggers="tensorbord")
    assert not (options.runs_base_dir / "affinities").exists()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorboard", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingDependencyError, match=rf"pip install 'dacapo\[{name}\]'"):
            make_loggers(name)


def test_two_loggers_of_one_name() -> None:
    with pytest.raises(DuplicateNameError, match="has the name 'tensorboard' of dacapo"):
        type("Other", (Logger,), {"name": "tensorboard"})


def test_the_command_has_an_option_for_each_logger() -> None:
    parsed = train_command.make_context("train", ["run", "--logger", "tensorboard", "--logger", "wandb"])
    assert parsed.params["loggers"] == ("tensorboard", "wandb")
