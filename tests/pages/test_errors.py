"""Every error that the interface pages state is raised, or the table says why it is not.

Two readings hold: a member that is not implemented is abstract, and has no body of its own (`test_members` checks
these); and a record that is empty is valid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import gunpowder as gp
import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.architectures import DummyArchitectureConfig
from dacapo.experiments.arraytypes import EmbeddingArray
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.run import Run
from dacapo.experiments.starts import Start
from dacapo.experiments.tasks import TaskConfig
from dacapo.experiments.tasks.predictors import DummyPredictor
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_weights_store
from tests.helpers.runs import dummy_run_config

from .members import MEMBERS
from .placeholders import INSTANCES, UNIT, MyModel, dataset, predictor_names, trainer, training_names, validation_scores


@attrs.define
class TasklessConfig(TaskConfig):
    """Names no task."""


class TaskWithoutLoss:
    """A task whose loss is not set."""

    loss = None


ROI = Roi((0, 0, 0), (2, 3, 4))


def from_np(values: Any = None, axes: Any = ("z", "y", "x"), roi: Roi = ROI, size: Coordinate = UNIT) -> NumpyArray:
    return NumpyArray.from_np_array(np.zeros((2, 3, 4)) if values is None else values, roi, size, axes)


def untyped_gp_array() -> gp.Array:
    array = gp.Array(np.zeros((2, 3, 4)), gp.ArraySpec(roi=ROI, voxel_size=UNIT))
    array.data = array.data.tolist()
    return array


def write_read_only() -> None:
    array = from_np(np.broadcast_to(np.zeros(1), (2, 3, 4)))
    assert not array.writable
    array[ROI] = 1


def iterate(num_iterations: int) -> Any:
    names = training_names()
    return trainer().iterate(num_iterations, names["model"], names["optimizer"], names["device"])


def with_a_gap() -> None:
    stats = TrainingStats([TrainingIterationStats(0, 0.5)])
    stats.add_iteration_stats(TrainingIterationStats(2, 0.5))


def taskless() -> Any:
    return Run.get_validation_scores(attrs.evolve(dummy_run_config(), task_config=TasklessConfig("none")))


def move_a_list() -> None:
    run = Run(dummy_run_config())
    run.optimizer.state = []  # type: ignore[assignment]
    run.move_optimizer(torch.device("cpu"))


RAISED: dict[str, tuple[type[Exception], Callable[[], Any]]] = {
    "Model.compute_output_shape": (AssertionError, lambda: INSTANCES["Model"]().compute_output_shape((5, 5, 5))),
    "Model.scale": (AssertionError, lambda: INSTANCES["Model"]().scale((1, 1, 1))),
    "DummyTrainer.iterate": (ValueError, lambda: iterate(0)),
    "DummyTrainer.build_batch_provider": (
        ValueError,
        lambda: trainer().build_batch_provider([], INSTANCES["Model"](), TaskWithoutLoss(), None),
    ),
    "TrainingStats.add_iteration_stats": (AssertionError, with_a_gap),
    "ValidationScores.subscores": (
        ValueError,
        lambda: validation_scores().subscores([ValidationIterationScores(7, [[[0.0, 0.0], [0.0, 0.0]]])]),
    ),
    "ValidationScores.add_iteration_scores": (
        ValueError,
        lambda: validation_scores().add_iteration_scores(validation_scores().scores[1]),
    ),
    "ValidationScores.get_best": (
        ValueError,
        lambda: validation_scores().get_best(validation_scores().to_xarray().drop_vars("criteria"), "iterations"),
    ),
    "Run.get_validation_scores": (AssertionError, taskless),
    "Run.move_optimizer": (AssertionError, move_a_list),
    "NumpyArray.from_gp_array": (ValueError, lambda: NumpyArray.from_gp_array(untyped_gp_array())),
    "NumpyArray.from_np_array": (ValueError, lambda: from_np(np.zeros((2, 3, 4)).tolist())),
    "NumpyArray.axes": (ValueError, lambda: from_np(axes=None).axes),
    "NumpyArray.dims": (ValueError, lambda: from_np(np.zeros(()), [], Roi((), ()), Coordinate(())).dims),
    "NumpyArray.writable": (ValueError, write_read_only),
    "NumpyArray.dtype": (ValueError, lambda: from_np([[[0.0]]]).dtype),
    "NumpyArray.num_channels": (ValueError, lambda: from_np().num_channels),
}

EMPTY = "an empty record is valid"
CONCRETE = "implemented, and the page says what it returns"


def empty_stats() -> TrainingStats:
    return TrainingStats()


def after_deletion() -> list[int]:
    scores = validation_scores((0, 5))
    scores.delete_after(3)
    return [entry.iteration for entry in scores.scores]


def deleted_below_the_last() -> int:
    stats = TrainingStats([TrainingIterationStats(i, 0.5) for i in range(3)])
    stats.delete_after(1)
    return stats.trained_until()


def loaded_in_part() -> bool:
    run = Run(dummy_run_config("old"))
    create_weights_store().store_weights(run, 1)
    config = attrs.evolve(dummy_run_config("new"), architecture_config=DummyArchitectureConfig("wider", 1, 5))
    model = Run(config).model
    Start({"run": "old", "criterion": "1"}).initialize_weights(model)
    return torch.equal(model.prediction_head.bias, run.model.prediction_head.bias)


def dummy() -> dict[str, Any]:
    return predictor_names(DummyPredictor(3))


NOT_RAISED: dict[str, tuple[str, Callable[[], Any], Any]] = {
    "DummyTrainer.can_train": (CONCRETE, lambda: trainer().can_train([dataset()]), True),
    "Architecture.eval_shape_increase": (CONCRETE, lambda: MyModel(UNIT).eval_shape_increase, Coordinate(0, 0, 0)),
    "Architecture.dims": (CONCRETE, lambda: MyModel(UNIT).dims, 3),
    "Architecture.scale": (CONCRETE, lambda: MyModel(UNIT).scale(UNIT * 2), UNIT * 2),
    "TrainingStats.delete_after": ("the example below it deletes before the last iteration", deleted_below_the_last, 1),
    "TrainingStats.trained_until": (EMPTY, lambda: empty_stats().trained_until(), 0),
    "TrainingStats.to_xarray": (EMPTY, lambda: empty_stats().to_xarray().size, 0),
    "ValidationScores.delete_after": ("recorded results delete after iterations without scores", after_deletion, [0]),
    "ValidationScores.validated_until": (EMPTY, lambda: validation_scores(()).validated_until(), 0),
    "ValidationScores.compare": (
        "scores that are only stored elsewhere are what it is for",
        lambda: validation_scores((0,)).compare(validation_scores((0, 1)).scores),
        (True, 0),
    ),
    "ValidationScores.criteria": (EMPTY, lambda: validation_scores(()).criteria, ["frizz_level", "blipp_score"]),
    "ValidationScores.parameter_names": (EMPTY, lambda: validation_scores(()).parameter_names, ["id", "min_size"]),
    "ValidationScores.to_xarray": (EMPTY, lambda: validation_scores(()).to_xarray().size, 0),
    "Start.initialize_weights": ("handled: the common layers are loaded", loaded_in_part, True),
    "Predictor.gt_region_for_roi": (CONCRETE, lambda: DummyPredictor(3).gt_region_for_roi(ROI), ROI),
    "Predictor.padding": (CONCRETE, lambda: DummyPredictor(3).padding(UNIT), Coordinate(0, 0, 0)),
    "EmbeddingArray.interpolatable": (CONCRETE, lambda: EmbeddingArray(3).interpolatable, True),
    "NumpyArray.attrs": (EMPTY, lambda: from_np().attrs, {}),
    "DummyPredictor.create_model": (
        CONCRETE,
        lambda: DummyPredictor(3).create_model(dummy()["architecture"]).num_out_channels,
        3,
    ),
    "DummyPredictor.create_target": (
        CONCRETE,
        lambda: DummyPredictor(3).create_target(dummy()["gt"]).data.any(),
        False,
    ),
    "DummyPredictor.create_weight": (
        CONCRETE,
        lambda: DummyPredictor(3).create_weight(dummy()["gt"], dummy()["target"], dummy()["mask"])[1],
        None,
    ),
    "DummyPredictor.output_array_type": (CONCRETE, lambda: DummyPredictor(3).output_array_type, EmbeddingArray(3)),
}


def test_every_stated_error_is_here() -> None:
    abstract = [
        f"{name}.{member.partition('(')[0].split()[-1]}"
        for name, (_, members) in MEMBERS.items()
        for member in members
        if member.startswith("abstract") and not member.endswith("output_array_type")
    ]
    assert len({*RAISED, *NOT_RAISED, *abstract}) == len(RAISED) + len(NOT_RAISED) + len(abstract) == 49


@pytest.mark.parametrize("member", RAISED)
def test_it_is_raised(member: str) -> None:
    error, action = RAISED[member]
    with pytest.raises(error) as caught:
        action()
    assert str(caught.value)


@pytest.mark.parametrize("member", NOT_RAISED)
def test_it_is_not_raised(member: str, options: DaCapoConfig) -> None:
    reason, action, expected = NOT_RAISED[member]
    assert reason
    assert action() == expected
