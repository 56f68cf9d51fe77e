"""A training that no longer improves ends early, says so, and goes on when it is asked to."""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner

from dacapo.cli import cli
from dacapo.errors import ConfigError, DamagedFileError, NotFoundError
from dacapo.experiments.config import verify_all
from dacapo.experiments.early_stopping import EarlyStoppingConfig, reason_to_end
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.training_session import sessions_of
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.options import DaCapoConfig
from dacapo.runs import export_run, import_run, list_runs, show_run
from dacapo.store.create_store import create_config_store
from dacapo.store.early_end import read_early_end
from dacapo.tables import run_table
from dacapo.train import progress_of, train
from dacapo.web.catalogue import Catalogue
from tests.helpers.runs import affinities_run_config


def config_with(folder: Path, stopping: EarlyStoppingConfig | None) -> RunConfig:
    """Return a run that learns so slowly that its scores stay the same."""
    config = affinities_run_config(folder, dims=2, num_iterations=6, validation_interval=1)
    trainer = attrs.evolve(config.trainer_config, learning_rate=1e-15)
    return attrs.evolve(config, trainer_config=trainer, early_stopping=stopping)


def test_a_training_ends_early_and_goes_on_when_asked(
    options: DaCapoConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_with(tmp_path, EarlyStoppingConfig(patience=2))
    create_config_store().store_run_config(config)
    caplog.set_level(logging.INFO, logger="dacapo")

    run = train(config.name)
    assert run.training_stats.trained_until() == 3  # the best score at 1, and none better at 2 and 3
    reason = r"voi was 3\.\d+ at iteration 1, and has not improved in the last 2 validations"
    assert re.search(f"run affinities ends early at iteration 3 of 6: {reason}", caplog.text)
    assert progress_of(run) == "affinities: trained 3 of 6 iterations, then ended early"
    assert "3 of 6, ended early" in run_table()
    assert Catalogue().card(config.name).status == "finished"
    assert "3 of 6 iterations, ended early, last loss" in str(show_run(config.name))
    export_run(config.name, tmp_path / "cells.zip")
    import_run(tmp_path / "cells.zip", "moved")
    assert train("moved").training_stats.trained_until() == 3
    assert "run moved ended early at iteration 3 of 6" in caplog.messages[-1]
    summary, moved = list_runs()
    assert moved.ended_early
    assert (summary.status, summary.progress + summary.early) == ("finished", "3 of 6, ended early")

    for _ in range(2):
        caplog.clear()
        assert train(config.name).training_stats.trained_until() == 3
        (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        how = r"\. To go on, lengthen it, or train it with force=True \(--force\)"
        assert re.fullmatch(f"run affinities ended early at iteration 3 of 6: {reason}{how}", warning)

    assert train(config.name, force=True).training_stats.trained_until() == 5  # patience counts from 3
    assert train(config.name, num_iterations=7).training_stats.trained_until() == 7
    assert progress_of(train(config.name)) == "affinities: trained 7 of 7 iterations"
    assert "7 of 7 " in run_table()
    outcomes = [(one["iterations"], one["outcome"]) for one in sessions_of(config.name)]
    assert outcomes == [
        ({"from": 0, "to": 3}, "ended early"),
        ({"from": 3, "to": 5}, "ended early"),
        ({"from": 5, "to": 7}, "finished"),
    ]


def test_more_patience_or_none_goes_on(options: DaCapoConfig, tmp_path: Path) -> None:
    config = config_with(tmp_path, EarlyStoppingConfig(patience=1))
    store = create_config_store()
    store.store_run_config(config)
    assert train(config.name).training_stats.trained_until() == 2
    store.replace_run_config(attrs.evolve(config, early_stopping=EarlyStoppingConfig(patience=2)))
    assert train(config.name).training_stats.trained_until() == 4
    store.replace_run_config(attrs.evolve(config, early_stopping=None))
    assert train(config.name).training_stats.trained_until() == 6


def test_a_training_that_was_killed_before_it_left_a_record(options: DaCapoConfig, tmp_path: Path) -> None:
    config = config_with(tmp_path, EarlyStoppingConfig(patience=1))
    create_config_store().store_run_config(config)
    train(config.name)
    assert read_early_end(config.name, 2) is not None
    assert read_early_end(config.name, 1) is None  # left of a training that was deleted
    record = options.runs_base_dir / config.name / "checkpoints" / "early_end.json"
    record.unlink()
    assert train(config.name).training_stats.trained_until() == 2
    record.unlink()
    assert train(config.name, force=True).training_stats.trained_until() == 3
    record.write_text("[]")
    with pytest.raises(DamagedFileError, match="holds no record of an early end; delete it"):
        train(config.name)


def test_the_command_tells_that_a_training_has_ended_early(options: DaCapoConfig, tmp_path: Path) -> None:
    config = config_with(tmp_path, EarlyStoppingConfig(patience=1))
    create_config_store().store_run_config(config)
    trained = [CliRunner().invoke(cli, ["train", config.name, *more]) for more in ([], [], ["--force"])]
    assert [result.exit_code for result in trained] == [0, 0, 0]
    ended = [result.stdout.strip().splitlines()[-1] for result in trained]
    assert ended == [f"affinities: trained {n} of 6 iterations, then ended early" for n in (2, 2, 3)]


@pytest.mark.parametrize(
    ("values", "criterion", "min_delta", "ends"),
    [
        ([3, 2, 1], None, 0.0, False),
        ([3, 2, 2], None, 0.0, False),  # one validation without improvement
        ([3, 2, 2, 2], None, 0.0, True),
        ([3, 2, 4, 1], None, 0.0, False),
        ([3, 2.7, 2.4], None, 0.5, False),  # by enough together
        ([3, 2.9, 2.8], None, 0.5, True),
        ([0.1, 0.2, 0.3], "voi_split", 0.0, True),
        ([math.nan, math.nan], None, 0.0, True),
        ([math.nan, 3, math.nan], None, 0.0, False),
        ([math.inf, 3, 2], None, 0.0, False),
    ],
)
def test_improvement(
    options: DaCapoConfig, tmp_path: Path, values: list[float], criterion: str | None, min_delta: float, ends: bool
) -> None:
    run = Run(config_with(tmp_path, EarlyStoppingConfig(2, criterion, min_delta)))
    count, criteria = len(list(run.task.parameters)), len(run.validation_scores.criteria)
    for number, value in enumerate(values):
        scores = ValidationIterationScores(number + 1, [[[value] * criteria] * count])
        run.validation_scores.add_iteration_scores(scores)
    assert (reason_to_end(run) is not None) == ends
    assert reason_to_end(run, since=len(values)) is None


def test_settings_that_cannot_work(options: DaCapoConfig, tmp_path: Path) -> None:
    problems = verify_all(config_with(tmp_path, EarlyStoppingConfig(patience=0)))
    assert problems == [("early_stopping", "patience is 0, but has to be at least 1 validation")]
    works, why = config_with(tmp_path, EarlyStoppingConfig(patience=1, criterion="dice")).verify()
    assert not works
    assert "unknown criterion 'dice'; this run's are" in why
    config = config_with(tmp_path, EarlyStoppingConfig(patience=1, criterion="dice"))
    create_config_store().store_run_config(config)
    with pytest.raises(NotFoundError, match="unknown criterion 'dice'"):
        train(config.name)
    split = attrs.evolve(config.datasplit_config, validate_configs=[])
    create_config_store().replace_run_config(attrs.evolve(config, datasplit_config=split))
    with pytest.raises(ConfigError, match="early_stopping needs scores, but the data split has no validation datasets"):
        train(config.name)
