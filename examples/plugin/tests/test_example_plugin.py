"""The classes of the plugin do what dacapo expects of all of their kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from dacapo_example_plugin import (
    InvertedArray,
    InvertedArrayConfig,
    MomentumTrainerConfig,
    TwoClassTaskConfig,
    TwoConvolutions,
    TwoConvolutionsConfig,
)

from dacapo.experiments.architectures import Architecture
from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.datasplits.datasets.arrays import Array, DummyArrayConfig
from dacapo.experiments.model import Model
from dacapo.experiments.tasks import DummyTaskConfig, Task, TaskConfig
from dacapo.experiments.trainers import TrainerConfig
from dacapo.testing.architecture import SeamlessArchitectureContract
from dacapo.testing.array import ArrayContract
from dacapo.testing.task import TaskContract
from dacapo.testing.trainer import TrainerContract


class TestInvertedArray(ArrayContract):
    @pytest.fixture
    def array(self) -> Array:
        return InvertedArray(InvertedArrayConfig("inverted", DummyArrayConfig("dummy")))

    def test_bright_is_dark(self, array: Array) -> None:
        source = DummyArrayConfig("dummy")
        np.testing.assert_allclose(array[array.roi] + source.array_type(source).data, 1)


class TestTwoConvolutions(SeamlessArchitectureContract):
    @pytest.fixture(params=[(12, 14), (8, 9, 10)], ids=["2d", "3d"])
    def architecture(self, request: pytest.FixtureRequest) -> Architecture:
        return TwoConvolutions(TwoConvolutionsConfig("two", request.param))


class TestTwoClassTask(TaskContract):
    masks_weights = False  # its predictor gives all voxels the weight 1; DaCapoTargetFilter applies the mask

    def config(self) -> TaskConfig:
        return TwoClassTaskConfig("two", foreground="cell")

    def ground_truth(self, shape: tuple[int, ...]) -> np.ndarray:
        return (np.indices(shape).sum(axis=0) // 3 % 2).astype(np.uint8)


class TestMomentumTrainer(TrainerContract):
    def config(self) -> TrainerConfig:
        return MomentumTrainerConfig("momentum", batch_size=2, learning_rate=0.01, mirror_augment=True)

    def task(self) -> Task:
        # Without data, targets are 0, and the cross entropy of no class is 0 whatever is predicted.
        config = DummyTaskConfig("dummy", embedding_dims=2, detection_threshold=0.5)
        return config.task_type(config)

    def datasets(self) -> Sequence[Dataset]:
        return []

    def model(self) -> Model:
        task_config = TwoClassTaskConfig("two")
        return task_config.task_type(task_config).create_model(TwoConvolutions(TwoConvolutionsConfig("two", (12, 14))))
