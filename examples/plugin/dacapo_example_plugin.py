"""A task, an architecture, a trainer and an array for dacapo, each as short as it can be."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np
import torch
from funlib.geometry import Coordinate

from dacapo.experiments.architectures import Architecture, ArchitectureConfig
from dacapo.experiments.config import field
from dacapo.experiments.datasplits.datasets.arrays import Array, ArrayConfig
from dacapo.experiments.datasplits.datasets.arrays.view import VoxelwiseView
from dacapo.experiments.model import Model
from dacapo.experiments.tasks import Task, TaskConfig
from dacapo.experiments.tasks.evaluators import BinarySegmentationEvaluator
from dacapo.experiments.tasks.losses import CrossEntropyLoss
from dacapo.experiments.tasks.post_processors import ArgmaxPostProcessor
from dacapo.experiments.tasks.predictors import OneHotPredictor
from dacapo.experiments.trainers import DummyTrainer, DummyTrainerConfig, Trainer


class InvertedArray(VoxelwiseView):
    """Another array with bright and dark swapped, over the same roi and axes."""

    def __init__(self, array_config: InvertedArrayConfig) -> None:
        source = array_config.source_array_config
        super().__init__(array_config.name, [source.array_type(source)])

    def _compute(self, *values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        whole = np.issubdtype(self.dtype, np.integer)
        brightest = np.iinfo(self.dtype).max if whole else self.dtype.type(1)
        inverted: np.ndarray[Any, Any] = (brightest - values[0]).astype(self.dtype)
        return inverted


@attrs.define
class InvertedArrayConfig(ArrayConfig):
    """Another array with bright and dark exchanged."""

    array_type: ClassVar[type[Array]] = InvertedArray

    source_array_config: ArrayConfig = field("The array to invert; values of float types lie between 0 and 1.")


class TwoConvolutions(Architecture):
    """Two convolutions of 3 voxels without padding."""

    def __init__(self, architecture_config: TwoConvolutionsConfig) -> None:
        super().__init__()
        self.config = architecture_config
        convolution = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[architecture_config.input_shape.dims]
        channels = architecture_config.channels
        self.layers = torch.nn.Sequential(
            convolution(1, channels, 3), torch.nn.ReLU(), convolution(channels, channels, 3)
        )

    @property
    def input_shape(self) -> Coordinate:
        return self.config.input_shape

    @property
    def num_in_channels(self) -> int:
        return 1

    @property
    def num_out_channels(self) -> int:
        return self.config.channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layers(x)
        return features


@attrs.define
class TwoConvolutionsConfig(ArchitectureConfig):
    """Two convolutions, in 2D or 3D."""

    architecture_type: ClassVar[type[Architecture]] = TwoConvolutions

    input_shape: Coordinate = field("Spatial shape in voxels of the input during training.", converter=Coordinate)
    channels: int = field("Number of feature maps.", default=8)

    def verify(self) -> tuple[bool, str]:
        """Check that something is left of the input."""
        if self.input_shape.dims not in (2, 3) or min(self.input_shape) < 5:
            return False, f"input_shape must have 2 or 3 axes of at least 5 voxels, got {tuple(self.input_shape)}"
        return super().verify()


class TwoClassTask(Task):
    """Tell foreground from background, by parts that dacapo has."""

    def __init__(self, task_config: TwoClassTaskConfig) -> None:
        classes = ["background", task_config.foreground]
        self.predictor = OneHotPredictor(classes)
        self.loss = CrossEntropyLoss()
        self.post_processor = ArgmaxPostProcessor()
        self.evaluator = BinarySegmentationEvaluator(clip_distance=100, tol_distance=10, channels=classes)


@attrs.define
class TwoClassTaskConfig(TaskConfig):
    """Tell foreground (label 1) from background (label 0)."""

    task_type: ClassVar[type[Task]] = TwoClassTask

    foreground: str = field("Name of the foreground.", default="foreground")


class MomentumTrainer(DummyTrainer):
    """Use another optimizer than the trainer it derives from."""

    def create_optimizer(self, model: Model) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=self.learning_rate, momentum=0.9)


@attrs.define
class MomentumTrainerConfig(DummyTrainerConfig):
    """Train by stochastic gradient descent with momentum, on random inputs."""

    trainer_type: ClassVar[type[Trainer]] = MomentumTrainer
