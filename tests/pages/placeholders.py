"""Values for the names that code blocks use without making them, by the class that a block belongs to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gunpowder as gp
import numpy as np
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.architectures import Architecture, DummyArchitecture, DummyArchitectureConfig
from dacapo.experiments.arraytypes import EmbeddingArray
from dacapo.experiments.datasplits import DummyDataSplit, DummyDataSplitConfig
from dacapo.experiments.datasplits.datasets import DummyDataset, DummyDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.model import Model
from dacapo.experiments.run import Run
from dacapo.experiments.starts import Start
from dacapo.experiments.tasks import DummyTask, DummyTaskConfig
from dacapo.experiments.tasks.evaluators import DummyEvaluationScores
from dacapo.experiments.tasks.post_processors import DummyPostProcessorParameters
from dacapo.experiments.tasks.predictors import DistancePredictor, DummyPredictor, Predictor
from dacapo.experiments.trainers import DummyTrainer, DummyTrainerConfig
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.experiments.validation_scores import ValidationScores
from dacapo.store.array_store import LocalContainerIdentifier
from dacapo.store.create_store import create_weights_store
from tests.helpers.runs import dummy_run_config

Names = dict[str, Any]

NUM_ITERATIONS = 3
UNIT = Coordinate(1, 1, 1)


class MyModel(Architecture):
    """An architecture of one's own; its second argument is another one in each block."""

    def __init__(self, input_shape: Coordinate, second: Any = None) -> None:
        super().__init__()
        self.shape, self.second = input_shape, second

    @property
    def input_shape(self) -> Coordinate:
        return self.shape

    @property
    def num_in_channels(self) -> int:
        return 1

    @property
    def num_out_channels(self) -> int:
        return 1


def array(values: np.ndarray) -> NumpyArray:
    """Return 3D values as an array with voxels of size 1."""
    return NumpyArray.from_np_array(values, Roi((0, 0, 0), values.shape), UNIT, ["z", "y", "x"])


def architecture() -> DummyArchitecture:
    return DummyArchitecture(DummyArchitectureConfig("architecture", num_in_channels=1, num_out_channels=2))


def trainer() -> DummyTrainer:
    return DummyTrainer(DummyTrainerConfig("trainer", batch_size=1, learning_rate=1e-6, mirror_augment=False))


def task() -> DummyTask:
    return DummyTask(DummyTaskConfig("task", embedding_dims=1, detection_threshold=0.5))


def dataset() -> DummyDataset:
    return DummyDataset(DummyDatasetConfig("dataset"))


def validation_scores(iterations: tuple[int, ...] = (0, 1)) -> ValidationScores:
    """Return scores of two sets of parameters on one dataset by two criteria."""
    parameters = [DummyPostProcessorParameters(id=id, min_size=id) for id in (1, 2)]
    scores = ValidationScores(parameters, [dataset()], DummyEvaluationScores())
    for iteration in iterations:
        values = [[[iteration + 0.25, 3.0], [iteration + 0.5, 4.0 - iteration]]]
        scores.add_iteration_scores(ValidationIterationScores(iteration, values))
    return scores


def predictor_names(predictor: Predictor) -> Names:
    gt = array(np.eye(8, dtype=np.uint8)[np.newaxis].repeat(8, axis=0))
    return {
        "predictor": predictor,
        "architecture": architecture(),
        "gt": gt,
        "target": predictor.create_target(gt),
        "mask": array(np.ones((8, 8, 8), dtype=np.uint8)),
        "moving_class_counts": None,
        "target_spec": Roi((2, 2, 2), (4, 4, 4)),
        "gt_voxel_size": UNIT,
    }


def training_names() -> Names:
    model = task().create_model(architecture())
    return {
        "num_iterations": NUM_ITERATIONS,
        "model": model,
        "optimizer": trainer().create_optimizer(model),
        "device": torch.device("cpu"),
        "task": task(),
        "snapshot_container": LocalContainerIdentifier(Path("snapshots")),
        "architecture": model.architecture,
        "datasplit": DummyDataSplit(DummyDataSplitConfig("datasplit")),
        "datasets": [dataset()],
    }


def trainer_names() -> Names:
    return {**training_names(), "trainer": trainer()}


def dummy_trainer_names() -> Names:
    methods = ("create_optimizer", "iterate", "build_batch_provider", "can_train")
    return {**training_names(), **{name: getattr(trainer(), name) for name in methods}}


def model_names() -> Names:
    return {
        "architecture": architecture(),
        "prediction_head": torch.nn.Conv3d(2, 1, kernel_size=3),
        "x": torch.zeros(1, 1, 5, 5, 5),
        "input_shape": Coordinate(5, 5, 5),
        "voxel_size": UNIT,
    }


def start_names() -> Names:
    run = Run(dummy_run_config("old"))
    create_weights_store().store_weights(run, 1)
    start = Start({"run": "old", "criterion": "1", "channels": ["a", "b", "c"]})
    return {"start": start, "model": Run(dummy_run_config("new")).model, "new_head": ["c", "b", "a"]}


def run_names() -> Names:
    config = dummy_run_config()
    return {"run": Run(config), "run_config": config, "device": torch.device("cpu")}


PLACEHOLDERS: dict[str, Callable[[], Names]] = {
    "Trainer": trainer_names,
    "Model": model_names,
    "DummyTrainer": dummy_trainer_names,
    "Architecture": lambda: {"MyModel": MyModel, "input_shape": Coordinate(8, 8, 8)},
    "TrainingStats": lambda: {"TrainingIterationStats": TrainingIterationStats},
    "ValidationScores": lambda: {"validation_scores": validation_scores(), "data": validation_scores().to_xarray()},
    "Start": start_names,
    "Run": run_names,
    "Predictor": lambda: predictor_names(DistancePredictor(["a"], 4.0, mask_distances=True)),
    "DummyPredictor": lambda: predictor_names(DummyPredictor(3)),
    "EmbeddingArray": dict,
    "NumpyArray": dict,
}

# Of other packages, as the pages import them.
COMMON: Names = {"np": np, "gp": gp, "torch": torch, "Coordinate": Coordinate, "Roi": Roi}

# One of each documented class that can be built.
INSTANCES: dict[str, Callable[[], Any]] = {
    "Architecture": lambda: MyModel(Coordinate(8, 8, 8)),
    "DataSplit": lambda: DummyDataSplit(DummyDataSplitConfig("datasplit")),
    "DummyPredictor": lambda: DummyPredictor(3),
    "DummyTrainer": trainer,
    "EmbeddingArray": lambda: EmbeddingArray(3),
    "Model": lambda: Model(architecture(), torch.nn.Conv3d(2, 1, kernel_size=3)),
    "NumpyArray": lambda: NumpyArray.from_np_array(np.zeros((2, 3, 4, 5)), Roi((0, 0, 0), (3, 4, 5)), UNIT, [*"czyx"]),
    "Predictor": lambda: DistancePredictor(["a"], 4.0, mask_distances=False),
    "Run": lambda: Run(dummy_run_config()),
    "RunConfig": dummy_run_config,
    "Start": lambda: Start({"run": "old", "criterion": "1"}),
    "Task": task,
    "Trainer": trainer,
    "TrainingIterationStats": lambda: TrainingIterationStats(0, 0.5, 0.25),
    "TrainingStats": TrainingStats,
    "ValidationIterationScores": lambda: ValidationIterationScores(0, [[[0.5]]]),
    "ValidationScores": validation_scores,
}
