"""Sweeps: a grid becomes runs with names, which are trained once and compared in a table."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from click.testing import CliRunner

import dacapo
from dacapo.cli import cli
from dacapo.errors import ConfigError, NotFoundError
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.sweep_plan import plan_sweep
from dacapo.options import DaCapoConfig
from dacapo.store.converter import to_plain
from dacapo.store.create_store import create_config_store, create_stats_store
from dacapo.store.training_lock import training_lock
from tests.helpers.runs import affinities_run_config

RATE = "trainer_config.learning_rate"


@pytest.fixture
def base(tmp_path: Path) -> RunConfig:
    return affinities_run_config(tmp_path, "cells", dims=2, num_iterations=2, validation_interval=1)


def file_of(folder: Path, base: RunConfig, /, **spec: Any) -> Path:
    (folder / "base.yaml").write_text(yaml.safe_dump(to_plain(base)))
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({"base": "base.yaml"} | spec))
    return path


def trained(name: str) -> int:
    return create_stats_store().retrieve_training_stats(name).trained_until()


def test_a_grid_becomes_runs(options: DaCapoConfig, base: RunConfig) -> None:
    augments = [[], [{"__type__": "SimpleAugmentConfig"}]]
    grid = {
        RATE: [1e-3, 1e-4],
        "architecture_config.downsample_factors[0]": [[2, 2], [3, 3]],
        "trainer_config.augments": augments,
    }
    plan = plan_sweep({"base": base, "grid": grid, "repetitions": 2, "name": "wide"})
    names = [swept.config.name for swept in plan.runs]
    assert names[:3] == [
        "wide_learning_rate=0.001_downsample_factors.0=2x2_augments=v0",
        "wide_learning_rate=0.001_downsample_factors.0=2x2_augments=v0_r1",
        "wide_learning_rate=0.001_downsample_factors.0=2x2_augments=v1",
    ]
    assert len(set(names)) == len(names) == 16
    assert [swept.config.repetition for swept in plan.runs[:3]] == [0, 1, 0]
    last = plan.runs[-1]
    assert last.config.trainer_config.learning_rate == last.values[RATE] == 1e-4
    assert last.config.architecture_config.downsample_factors == [(3, 3)]
    assert [type(augment).__name__ for augment in last.config.trainer_config.augments] == ["SimpleAugmentConfig"]
    assert plan.runs[0].config.trainer_config.augments == []
    assert attrs.evolve(plan.runs[0].config, name="cells").task_config == base.task_config
    assert plan_sweep({"base": base, "grid": grid, "repetitions": 2, "name": "wide"}) == plan
    assert create_config_store().retrieve_run_config_names() == []


def test_names_tell_fields_apart(base: RunConfig) -> None:
    grid = {"trainer_config.name": ["a", "b"], "task_config.name": ["long text with spaces", "b"]}
    names = [swept.config.name for swept in plan_sweep({"base": base, "grid": grid}).runs]
    assert names[0] == "cells_trainer_config.name=a_task_config.name=v0"
    assert names[-1] == "cells_trainer_config.name=b_task_config.name=b"


def test_whole_parts_are_replaced_before_their_fields(base: RunConfig) -> None:
    other = attrs.evolve(base.trainer_config, name="other", batch_size=7)
    grid = {RATE: [0.5], "trainer_config": [base.trainer_config, other], "early_stopping.patience": [4]}
    runs = plan_sweep({"base": base, "grid": grid}).runs
    assert [swept.config.trainer_config.batch_size for swept in runs] == [1, 7]
    assert [swept.config.trainer_config.learning_rate for swept in runs] == [0.5, 0.5]
    assert runs[1].config.name == "cells_learning_rate=0.5_trainer_config=other_patience=4"
    stopping = runs[1].config.early_stopping
    assert stopping is not None
    assert stopping.patience == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"grid": {"trainer_config.learning_rat": [1]}},
            "learning_rat: unknown field; .*'learning_rate', did you mean",
        ),
        ({"grid": {"trainer.learning_rate": [1]}}, "grid: trainer.learning_rate: trainer: unknown field"),
        ({"grid": {"trainer_config.batch_size": [1, "two"]}}, "batch_size: expected a whole number, got 'two'"),
        (
            {"grid": {"trainer_config.batch_size": 2}},
            "trainer_config.batch_size must be a list of values to try, got 2",
        ),
        ({"grid": {"trainer_config.batch_size": []}}, "must be a list of values to try"),
        ({"grid": {"trainer_config.batch_size": [2, 2]}}, r"has a value twice, in \[2, 2\]; use 'repetitions'"),
        ({"grid": {"trainer_config.augments[7]": [1]}}, r"augments\[7\]: \[7\] cannot be replaced in a list of 2"),
        (
            {"grid": {"trainer_config.augments.scale": [1]}},
            r"'scale' is inside of a list; write for example \[0\].scale",
        ),
        ({"grid": {"name.first": ["a"]}}, "'first' is inside of 'cells', which has no fields"),
        ({"grid": {"a]": [1]}}, r"'a\]' is no path of a field"),
        ({"grid": {"name": ["a"]}}, "name cannot be varied; the sweep names its runs"),
        ({"grid": {"repetition": [1]}}, "repetition cannot be varied; give the number of 'repetitions'"),
        ({"repetitions": 0}, "repetitions must be a whole number from 1 on, got 0"),
        ({"grids": {}}, "unknown field grids; a sweep has base, grid, repetitions, name"),
        ({"base": 3}, "base must be the config of a run, its file, or a stored run's name, got 3"),
        ({"base": "missing"}, "'missing'"),
        ({"name": "a/b"}, "cannot be a file name"),
    ],
)
def test_mistakes_are_named_before_anything_is_done(
    options: DaCapoConfig, base: RunConfig, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, NotFoundError), match=message):
        dacapo.sweep(file_of(tmp_path, base, **change))
    assert create_config_store().retrieve_run_config_names() == []


def test_runs_that_cannot_work_are_refused_before_anything_is_done(options: DaCapoConfig, base: RunConfig) -> None:
    with pytest.raises(ConfigError, match="run 'cells_batch_size=0': trainer_config: batch_size is 0, but a batch"):
        dacapo.sweep({"base": base, "grid": {"trainer_config.batch_size": [1, 0]}})
    with pytest.raises(NotFoundError, match="unknown criterion 'dice'"):
        dacapo.sweep({"base": base}, criterion="dice")
    assert create_config_store().retrieve_run_config_names() == []


def test_a_sweep_trains_what_is_left_and_compares(
    options: DaCapoConfig, base: RunConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = {"base": base, "grid": {RATE: [1e-3, 1e-1]}}
    names = ["cells_learning_rate=0.001", "cells_learning_rate=0.1"]
    create_config_store().store_run_config(plan_sweep(spec).runs[0].config)
    dacapo.train(names[0])
    with caplog.at_level(logging.INFO, logger="dacapo"):
        result = dacapo.sweep(file_of(tmp_path, base, grid=spec["grid"]))
    assert f"run 1 of 2, {names[0]}, is finished already" in caplog.text
    assert [trained(name) for name in names] == [2, 2]
    scores = [row.score for row in result.rows]
    for name, row in zip(names, result.rows, strict=True):
        run = Run.open(name)
        table = run.validation_scores.to_xarray().sel(criteria="voi").mean("datasets")
        assert row.run.name == name
        assert row.score == float(table.min())
        assert row.iteration in table.iterations.values[(table == row.score).any("parameters")]
        assert row.parameters in [str(parameters) for parameters in run.task.parameters]
    assert result.best is not None
    assert result.best.score == min(score for score in scores if score is not None)

    shown = CliRunner().invoke(cli, ["sweep", str(tmp_path / "sweep.yaml"), "--json"])
    plain = json.loads(shown.stdout)
    assert plain == result.as_plain()
    assert [row["values"] for row in plain["runs"]] == [{RATE: 1e-3}, {RATE: 1e-1}]
    text = CliRunner().invoke(cli, ["sweep", str(tmp_path / "sweep.yaml"), "--table"]).stdout
    assert text.strip() == str(result)
    assert [line.split()[0] for line in text.splitlines()] == ["run", *names]
    assert text.count(" * ") == 1

    longer = attrs.evolve(base, num_iterations=3)
    dacapo.sweep({**spec, "base": longer})
    assert [trained(name) for name in names] == [3, 3]
    with pytest.raises(ConfigError, match=r"stored with another config: trainer_config.clip_raw was False and is True"):
        dacapo.sweep(
            {**spec, "base": attrs.evolve(base, trainer_config=attrs.evolve(base.trainer_config, clip_raw=True))}
        )


def test_a_run_that_fails_does_not_keep_the_others_from_being_trained(
    options: DaCapoConfig, base: RunConfig, tmp_path: Path
) -> None:
    path = file_of(tmp_path, base, grid={RATE: [1e30, 1e-3]})
    shown = CliRunner().invoke(cli, ["sweep", str(path)])
    assert shown.exit_code == 1
    assert "Error: 1 of 2 runs failed: " in shown.stderr
    assert "cells_learning_rate=1e+30: " in shown.stdout
    assert trained("cells_learning_rate=0.001") == 2


def test_a_run_that_another_process_trains_is_left_to_it(
    options: DaCapoConfig, base: RunConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with training_lock("cells"):
        result = dacapo.sweep({"base": base, "repetitions": 2})
    assert "is being trained by process" in caplog.text
    assert [(row.run.name, row.run.trained) for row in result.rows] == [("cells", 0), ("cells_r1", 2)]
    assert result.best is result.rows[1]


def test_commands_that_train_the_rest(
    options: DaCapoConfig, base: RunConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(file_of(tmp_path, base, repetitions=2))
    folder = str(options.runs_base_dir)
    dry = CliRunner().invoke(cli, ["--runs-dir", folder, "sweep", path, "--dry-run"])
    lines = [f"dacapo --runs-dir {folder} train {name}" for name in ("cells", "cells_r1")]
    assert dry.stdout.splitlines() == lines, dry.output
    assert create_config_store().retrieve_run_config_names() == []
    with caplog.at_level(logging.WARNING, logger="dacapo"):
        assert CliRunner().invoke(cli, ["sweep", path, "--table"]).stdout.split()[0] == "run"
    assert caplog.messages == ["not stored yet: cells, cells_r1"]
    stored = CliRunner().invoke(cli, ["--runs-dir", folder, "sweep", path, "--commands"])
    assert stored.stdout.splitlines() == lines
    assert create_config_store().retrieve_run_config_names() == ["cells", "cells_r1"]
    dacapo.train("cells")
    assert CliRunner().invoke(cli, ["sweep", path, "--dry-run"]).stdout == "dacapo train cells_r1\n"


def test_ranks_are_refused(options: DaCapoConfig, base: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="a sweep trains in a single process"):
        dacapo.sweep({"base": base})
