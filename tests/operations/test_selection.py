"""Checkpoint and parameters are chosen by scores alone: the data that they were measured on may be elsewhere by now."""

from __future__ import annotations

import math
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
from tests.helpers.runs import affinities_run_config


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
    with pytest.raises(ConfigError, match="belong to other validation datasets"):
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


def class_run(folder: Path, validate: int = 2) -> Run:
    """Return a run on two classes with several validation datasets, whose scores are still to be stored."""
    task = DistanceTaskConfig("d", channels=["a", "b"], clip_distance=40.0, tol_distance=8.0, scale_factor=40.0)
    config = affinities_run_config(folder, task_config=task)
    (dataset,) = config.datasplit_config.validate_configs
    config.datasplit_config.validate_configs = [attrs.evolve(dataset, name=f"v{i}") for i in range(validate)]
    return Run(config)


def row_of(run: Run, **channels: tuple[str, float]) -> list[float]:
    """Return all scores of a segmentation: by channel, whether it is in truth and output, and the VOI."""
    values = dict.fromkeys(run.task.evaluation_scores.criteria, math.nan)
    for channel, (where, voi) in channels.items():
        known = {
            "both": {"voi": voi, "recall": 0.5, "false_discovery_rate": 0.5, "dice": 0.5},
            "truth": {"dice": 0.0, "jaccard": 0.0, "false_discovery_rate": 0.0},
            "output": {"dice": 0.0, "jaccard": 0.0, "false_discovery_rate": 1.0},
            "none": {"hausdorff": 0.0},
        }[where]
        values.update({f"{channel}__{name}": value for name, value in known.items()})
    return list(values.values())


def store_rows(run: Run, rows: dict[int, list[list[list[float]]]]) -> None:
    """Store scores by iteration, dataset, parameters."""
    scores = [ValidationIterationScores(iteration, values) for iteration, values in rows.items()]
    create_stats_store().store_validation_iteration_scores(run.name, attrs.evolve(run.validation_scores, scores=scores))


def test_a_class_counts_where_the_truth_has_it(options: DaCapoConfig, tmp_path: Path) -> None:
    run = class_run(tmp_path)
    rows = {}
    for iteration, vois in ((3, (0.4, 0.6, 0.8)), (6, (0.5, 0.3, 0.1))):
        first = row_of(run, a=("both", vois[0]), b=("both", vois[1]))
        second = row_of(run, a=("both", vois[2]), b=("output", math.nan))
        third = row_of(run, a=("both", 2.0), b=("none", math.nan))
        rows[iteration] = [[first] * 3, [second, third, third]]
    store_rows(run, rows)
    selection = select(run)
    assert (selection.iteration, selection.parameters.id) == (6, 0)
    assert "voi 0.3 on the validation datasets is the best" in selection.reason
    assert selection.reason.endswith("; left out, because the truth does not contain it: b__voi on v1")
    # Scores that have a value without truth, such as dice for wrong output, count no more than those without.
    assert "b__dice on v1" in select(run, "dice").reason
    with pytest.raises(NotFoundError, match="truth does not contain it: b__voi on v1"):
        select(run, "b__voi", validation_dataset="v1")


def test_an_empty_prediction_of_a_class_cannot_win(options: DaCapoConfig, tmp_path: Path) -> None:
    run = class_run(tmp_path, validate=1)
    good, bad = row_of(run, a=("both", 1.0), b=("both", 1.0)), row_of(run, a=("both", 1.5), b=("both", 2.0))
    nothing = row_of(run, a=("both", 0.1), b=("truth", math.nan))
    store_rows(run, {3: [[nothing, bad, nothing]], 6: [[nothing, nothing, nothing]]})
    assert (select(run).iteration, select(run).parameters.id) == (3, 1)
    # Where none has the class, the others decide, and the reason says so.
    selection = select(run, iteration=6)
    assert selection.parameters.id == 0
    assert selection.reason.endswith("left out, because no candidate has it: b__voi on v0")
    store_rows(run, {3: [[nothing, bad, good]]})
    assert select(run).parameters.id == 2


def test_of_equal_scores_the_earliest_iteration_and_the_first_parameters_stay(
    options: DaCapoConfig, tmp_path: Path
) -> None:
    run = class_run(tmp_path, validate=1)
    worse, same = (row_of(run, a=("both", voi), b=("both", voi)) for voi in (2.0, 1.0))
    store_rows(run, {6: [[same, same, same]], 3: [[worse, same, same]]})
    assert (select(run).iteration, select(run).parameters.id) == (3, 1)
