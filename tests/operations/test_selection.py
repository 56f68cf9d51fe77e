"""Checkpoint and parameters are chosen by scores alone: the data that they were measured on may be elsewhere by now."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs
import numpy as np
import pytest

from dacapo.errors import ConfigError, NotFoundError
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.selection import select
from dacapo.experiments.tasks import DistanceTaskConfig
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_stats_store
from tests.operations.runs import affinities_run_config


@pytest.fixture
def config(options: DaCapoConfig, tmp_path: Path) -> RunConfig:
    """A run whose scores are stored; the third parameters are best at iteration 6."""
    config = affinities_run_config(tmp_path)
    run = Run(config)
    for iteration in (3, 6):
        values = np.full((1, len(run.validation_scores.parameters), 3), 4.0)
        values[0, 2] = 9 - iteration
        run.validation_scores.add_iteration_scores(ValidationIterationScores(iteration, values.tolist()))
    create_stats_store().store_validation_iteration_scores(run.name, run.validation_scores)
    return config


def test_the_data_is_not_needed(config: RunConfig, tmp_path: Path) -> None:
    for part in ("train", "validate"):
        shutil.rmtree(tmp_path / f"{part}.zarr")
    run = Run(config)
    selection = select(run)
    assert selection.iteration == 6
    assert selection.parameters == list(run.task.parameters)[2]
    assert select(run, validation_dataset="validate") == attrs.evolve(
        selection, reason=selection.reason.replace("the validation datasets", "validate")
    )


def test_scores_of_other_datasets_are_not_mixed_up(config: RunConfig) -> None:
    datasets = config.datasplit_config.validate_configs
    datasets.insert(0, attrs.evolve(datasets[0], name="another"))
    run = Run(config)
    with pytest.raises(ConfigError, match="of other validation datasets"):
        select(run)
    parameters = next(iter(run.task.parameters))
    assert select(run, iteration=3, parameters=parameters).iteration == 3


def test_a_criterion_of_every_channel_is_their_mean(options: DaCapoConfig, tmp_path: Path) -> None:
    task = DistanceTaskConfig("d", channels=["a", "b"], clip_distance=40.0, tol_distance=8.0, scale_factor=40.0)
    run = Run(affinities_run_config(tmp_path, task_config=task))
    criteria = run.task.evaluation_scores.criteria
    dice = [criteria.index("a__dice"), criteria.index("b__dice")]
    scores = []
    for iteration, pair in ((3, (0.9, 0.1)), (6, (0.6, 0.7))):
        values = np.zeros((1, 3, len(criteria)))
        values[0, 1, dice] = pair
        scores.append(ValidationIterationScores(iteration, values.tolist()))
    create_stats_store().store_validation_iteration_scores(run.name, attrs.evolve(run.validation_scores, scores=scores))
    assert (select(run, "dice").iteration, select(run, "dice").parameters.id) == (6, 1)
    assert select(run, "a__dice").iteration == 3
    with pytest.raises(NotFoundError, match="unknown criterion 'voi_split'"):
        select(run, "voi_split")
