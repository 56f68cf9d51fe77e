"""What the interface pages say in words: types of values, defaults, what methods return and change."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
import xarray as xr
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.architectures import Architecture, ArchitectureConfig
from dacapo.experiments.arraytypes import EmbeddingArray
from dacapo.experiments.datasplits import DataSplit, DataSplitConfig
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.model import Model
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.starts import Start, StartConfig
from dacapo.experiments.tasks import DummyTask, Task, TaskConfig
from dacapo.experiments.tasks.evaluators import EvaluationScores, Evaluator
from dacapo.experiments.tasks.losses import Loss
from dacapo.experiments.tasks.post_processors import PostProcessor, PostProcessorParameters
from dacapo.experiments.tasks.predictors import AffinitiesPredictor, DummyPredictor, OneHotPredictor, Predictor
from dacapo.experiments.trainers import DummyTrainer, Trainer, TrainerConfig
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.experiments.validation_scores import ValidationScores
from dacapo.options import DaCapoConfig
from dacapo.store.array_store import LocalContainerIdentifier
from dacapo.store.create_store import create_weights_store
from tests.helpers.runs import dummy_run_config

from .placeholders import INSTANCES, UNIT, MyModel, architecture, array, task, training_names, validation_scores

CPU = torch.device("cpu")

# The stated type of each attribute and property.
TYPES: dict[str, dict[str, Any]] = {
    "TrainingIterationStats": {"iteration": int, "loss": float, "time": float},
    "DummyTrainer": {"iteration": int, "batch_size": int, "learning_rate": float, "mirror_augment": bool},
    "Model": {
        "architecture": Architecture,
        "prediction_head": torch.nn.Module,
        "chain": torch.nn.Sequential,
        "num_in_channels": int,
        "num_out_channels": int,
        "input_shape": Coordinate,
        "eval_input_shape": Coordinate,
        "output_shape": Coordinate,
        "eval_activation": (torch.nn.Module, type(None)),
    },
    "RunConfig": {
        "task_config": TaskConfig,
        "architecture_config": ArchitectureConfig,
        "trainer_config": TrainerConfig,
        "datasplit_config": DataSplitConfig,
        "name": str,
        "repetition": int,
        "num_iterations": int,
        "validation_interval": int,
        "start_config": (StartConfig, type(None)),
    },
    "TrainingStats": {"iteration_stats": list},
    "ValidationIterationScores": {"iteration": int, "scores": list},
    "ValidationScores": {
        "criteria": list,
        "parameter_names": list,
        "parameters": list,
        "datasets": list,
        "evaluation_scores": EvaluationScores,
        "scores": list,
    },
    "DataSplit": {"train": list, "validate": (list, type(None))},
    "Task": {
        "predictor": Predictor,
        "loss": Loss,
        "evaluator": Evaluator,
        "post_processor": PostProcessor,
        "parameters": Iterable,
        "evaluation_scores": EvaluationScores,
    },
    "Architecture": {
        "input_shape": Coordinate,
        "eval_shape_increase": Coordinate,
        "num_in_channels": int,
        "num_out_channels": int,
        "dims": int,
    },
    "Start": {"run": str, "criterion": str},
    "Run": {
        "name": str,
        "train_until": int,
        "validation_interval": int,
        "task": Task,
        "architecture": Architecture,
        "trainer": Trainer,
        "model": Model,
        "optimizer": torch.optim.Optimizer,
        "training_stats": TrainingStats,
        "start": (Start, type(None)),
        "datasplit": DataSplit,
        "validation_scores": ValidationScores,
    },
    "EmbeddingArray": {"embedding_dims": int, "interpolatable": bool},
    "NumpyArray": {
        "attrs": dict,
        "axes": list,
        "dims": int,
        "voxel_size": Coordinate,
        "roi": Roi,
        "writable": bool,
        "data": np.ndarray,
        "dtype": np.dtype,
        "num_channels": int,
    },
    "DummyPredictor": {"embedding_dims": int, "output_array_type": EmbeddingArray},
}


@pytest.mark.parametrize(
    ("name", "attribute", "kind"), [(name, *item) for name, kinds in TYPES.items() for item in kinds.items()]
)
def test_values_have_the_stated_type(name: str, attribute: str, kind: Any) -> None:
    assert isinstance(getattr(INSTANCES[name](), attribute), kind)


# Model and architecture


def test_a_model_is_its_architecture_and_its_head() -> None:
    body, head = architecture(), torch.nn.Conv3d(2, 3, kernel_size=1)
    model = Model(architecture=body, prediction_head=head, eval_activation=torch.nn.Sigmoid())
    x = torch.randn(1, 1, 6, 6, 6)
    assert list(model.chain) == [body, head]
    assert torch.equal(model.train().forward(x=x), head(body(x)))
    assert torch.equal(model.eval().forward(x), torch.sigmoid(head(body(x))))
    assert (model.num_in_channels, model.num_out_channels) == (1, 3)
    assert model.eval_input_shape == model.input_shape + body.eval_shape_increase
    assert model.compute_output_shape(input_shape=model.input_shape) == (3, model.output_shape)
    assert model.scale(voxel_size=Coordinate(4, 2, 2)) == Coordinate(4, 2, 2)


def test_what_an_architecture_may_leave_out() -> None:
    body = MyModel(Coordinate(9, 8))
    assert (body.dims, body.eval_shape_increase) == (2, Coordinate(0, 0))
    assert body.scale(input_voxel_size=Coordinate(4, 2)) == Coordinate(4, 2)
    assert isinstance(body, torch.nn.Module)


# Training


@pytest.mark.parametrize("called", ["architecture", "model"])
def test_a_dummy_trainer_trains_as_its_page_says(called: str) -> None:
    names = training_names()
    trainer = INSTANCES["DummyTrainer"]()
    assert DummyTrainer.iteration == 0
    assert trainer.can_train(datasplit=names["datasplit"]) is True
    assert trainer.can_train(names["datasets"]) is True
    optimizer = trainer.create_optimizer(model=names["model"])
    provider = trainer.build_batch_provider(
        datasplit=names["datasplit"],
        architecture=names[called],
        task=names["task"],
        snapshot_container=LocalContainerIdentifier(Path("snapshots")),
    )
    assert provider is not None
    assert provider.batch(0).shape == (1, 1, 40, 20, 20)
    with trainer as entered:
        stats = trainer.iterate(num_iterations=2, model=names["model"], optimizer=optimizer, device=CPU)
        assert isinstance(stats, Iterator)
        assert [entry.iteration for entry in stats] == [0, 1]
    assert entered is trainer
    assert trainer.iteration == 2


def test_a_dummy_trainer_computes_with_the_loss_of_the_task() -> None:
    class Recorded(Loss):
        calls: list[tuple[int, ...]] = []

        def compute(self, prediction: torch.Tensor, target: torch.Tensor, weight: Any = None) -> torch.Tensor:
            self.calls.append(tuple(prediction.shape))
            assert not target.any()
            return prediction.square().mean() * 0 + 42

    names, trainer = training_names(), INSTANCES["DummyTrainer"]()
    names["task"].loss = Recorded()
    trainer.build_batch_provider(names["datasplit"], names["architecture"], names["task"], None)
    (stats,) = trainer.iterate(1, names["model"], names["optimizer"], CPU)
    assert stats.loss == 42
    assert Recorded.calls == [(1, 1, 36, 16, 16)]


def test_training_stats() -> None:
    stats = TrainingStats()
    for iteration in range(4):
        stats.add_iteration_stats(iteration_stats=TrainingIterationStats(iteration=iteration, loss=iteration / 2))
    stats.delete_after(iteration=3)
    assert (stats.trained_until(), type(stats.trained_until())) == (3, int)
    values = stats.to_xarray()
    assert isinstance(values, xr.DataArray)
    assert values.dims == ("iterations",)
    assert values.sel(iterations=2) == 1.0
    with pytest.raises(AssertionError):
        stats.add_iteration_stats(TrainingIterationStats(0, 0.1))


# Validation


def test_validation_scores() -> None:
    scores = validation_scores((0, 1, 2))
    assert (scores.validated_until(), type(scores.validated_until())) == (3, int)
    part = scores.subscores(iteration_scores=scores.scores[:2])
    assert type(part) is ValidationScores
    assert part.scores == scores.scores[:2]
    scores.delete_after(iteration=2)
    assert scores.validated_until() == 2
    scores.add_iteration_scores(iteration_scores=ValidationIterationScores(2, [[[0.0, 1.0], [2.0, 3.0]]]))
    assert [entry.iteration for entry in scores.scores] == [0, 1, 2]
    assert scores.criteria == ["frizz_level", "blipp_score"]
    assert scores.parameter_names == ["id", "min_size"]
    assert scores.to_xarray().dims == ("iterations", "datasets", "parameters", "criteria")


@pytest.mark.parametrize(
    ("local", "stored", "expected"),
    [((0, 1), (0,), (False, 1)), ((0,), (0, 1), (True, 0)), ((0, 1), (0, 1), (False, 2)), ((0, 1), (), (False, 0))],
)
def test_scores_are_compared_with_stored_ones(local: Any, stored: Any, expected: tuple[bool, int]) -> None:
    got = validation_scores(local).compare(existing_iteration_scores=validation_scores(stored).scores)
    assert got == expected
    assert [type(value) for value in got] == [bool, int]


def test_the_best_by_each_criterion() -> None:
    scores = validation_scores((0, 1, 2))
    got = scores.get_best(data=scores.to_xarray(), dim="iterations")
    assert isinstance(got, tuple)
    index, best = got
    assert isinstance(index, xr.DataArray)
    assert isinstance(best, xr.DataArray)
    assert "iterations" not in best.dims
    # A higher frizz level is better, and a lower blipp score.
    assert index.isel(datasets=0).sel(criteria="frizz_level").values.tolist() == [2, 2]
    assert best.isel(datasets=0).sel(criteria="frizz_level").values.tolist() == [2.25, 2.5]
    assert best.isel(datasets=0).sel(criteria="blipp_score").values.tolist() == [3.0, 2.0]


# Run


def test_a_run_is_made_of_what_its_config_says() -> None:
    config = dummy_run_config(num_iterations=7, validation_interval=5)
    run = Run(run_config=config, load_starter_model=False)
    assert (run.name, run.train_until, run.validation_interval) == ("dummy", 7, 5)
    assert run.start is None
    assert run.model.architecture is run.architecture
    held = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in run.model.parameters()}
    assert run.datasplit is run.datasplit
    assert run.validation_scores is run.validation_scores
    assert Run.get_validation_scores(run_config=config).criteria == run.validation_scores.criteria
    assert run.move_optimizer(device=CPU, empty_cuda_cache=True) is None  # type: ignore[func-returns-value]
    defaults = {field.name: field.default for field in attrs.fields(RunConfig)}
    assert (defaults["validation_interval"], defaults["start_config"]) == (1000, None)


def test_a_dummy_run_from_end_to_end() -> None:
    run = Run(dummy_run_config())
    run.trainer.build_batch_provider(run.datasplit, run.architecture, run.task, None)
    with run.trainer as trainer:
        for stats in trainer.iterate(3, run.model, run.optimizer, CPU):
            run.training_stats.add_iteration_stats(stats)
    assert run.training_stats.trained_until() == 3
    assert run.model.eval()(torch.rand(1, 1, 40, 20, 20)).shape == (1, 3, 36, 16, 16)
    run.validation_scores.add_iteration_scores(ValidationIterationScores(3, []))
    assert run.validation_scores.validated_until() == 4


def test_a_start_loads_the_weights_of_a_run(options: DaCapoConfig) -> None:
    old = Run(dummy_run_config("old"))
    create_weights_store().store_weights(old, 5)
    start = Start(start_config=StartConfig("old", "5"))
    start.channels = ["a", "b", "c"]
    assert (start.run, start.criterion) == ("old", "5")
    model = Run(dummy_run_config("new")).model
    assert start.initialize_weights(model=model, new_head=["c", "b", "a"]) is model
    assert torch.equal(model.prediction_head.weight, old.model.prediction_head.weight.flip(0))


# Task and predictor


def test_a_task_delegates_to_its_parts() -> None:
    made: DummyTask = task()
    assert all(isinstance(parameters, PostProcessorParameters) for parameters in made.parameters)
    assert made.evaluation_scores.criteria == made.evaluator.score.criteria
    assert isinstance(made.create_model(architecture=architecture()), Model)
    assert not inspect.isabstract(Task)


PREDICTORS: dict[str, Callable[[], Predictor]] = {
    "dummy": lambda: DummyPredictor(3),
    "distance": INSTANCES["Predictor"],
    "affinities": lambda: AffinitiesPredictor([Coordinate(1, 0, 0)], lsds=False),
    "one_hot": lambda: OneHotPredictor(["background", "cell"]),
}


@pytest.mark.parametrize("name", PREDICTORS)
def test_predictors(name: str) -> None:
    predictor = PREDICTORS[name]()
    gt = array(np.eye(8, dtype=np.uint8)[np.newaxis].repeat(8, axis=0))
    mask = array(np.ones((8, 8, 8), dtype=np.uint8))
    target = predictor.create_target(gt=gt)
    weight, counts = predictor.create_weight(gt=gt, target=target, mask=mask, moving_class_counts=None)
    again = predictor.create_weight(gt, target, mask, counts)
    model = predictor.create_model(architecture=architecture())
    roi = Roi((2, 2, 2), (4, 4, 4))
    assert isinstance(predictor.gt_region_for_roi(target_spec=roi), Roi)
    assert predictor.gt_region_for_roi(roi).contains(roi)
    assert isinstance(predictor.padding(gt_voxel_size=UNIT), Coordinate)
    assert isinstance(target, NumpyArray)
    assert isinstance(again, tuple)
    assert target.num_channels == weight.num_channels == model.num_out_channels


def test_the_dummy_predictor() -> None:
    predictor = DummyPredictor(embedding_dims=5)
    gt = array(np.ones((6, 6, 6), dtype=np.uint8))
    target = predictor.create_target(gt)
    weight, counts = predictor.create_weight(gt, target, gt)
    assert (type(target), type(weight), counts) == (NumpyArray, NumpyArray, None)
    assert target.data.shape == (5, 6, 6, 6)
    assert predictor.output_array_type == EmbeddingArray(embedding_dims=5)
    model = predictor.create_model(architecture())
    assert model.prediction_head.weight.shape == (5, 2, 3, 3, 3)
    assert (model.input_shape, model.output_shape) == (Coordinate(40, 20, 20), Coordinate(36, 16, 16))


def test_a_numpy_array_wraps_what_it_is_given() -> None:
    values = np.zeros((2, 3, 4, 5), dtype=np.uint8)
    roi = Roi((8, 0, 0), (12, 8, 10))
    wrapped = NumpyArray.from_np_array(array=values, roi=roi, voxel_size=Coordinate(4, 2, 2), axes=["c", "z", "y", "x"])
    assert wrapped.data is values
    assert (wrapped.roi, wrapped.voxel_size, wrapped.axes) == (roi, Coordinate(4, 2, 2), ["c", "z", "y", "x"])
    assert (wrapped.dims, wrapped.dtype, wrapped.num_channels, wrapped.writable) == (3, np.dtype(np.uint8), 2, True)
