"""Tiny networks and their tasks."""

from __future__ import annotations

import attrs
import torch
from funlib.geometry import Coordinate

from dacapo.experiments.architectures import Architecture, ArchitectureConfig
from dacapo.experiments.model import Model
from dacapo.experiments.tasks import (
    AffinitiesTask,
    AffinitiesTaskConfig,
    DummyTask,
    DummyTaskConfig,
    OneHotTask,
    OneHotTaskConfig,
    Task,
)
from dacapo.experiments.tasks.predictors import DummyPredictor
from dacapo.experiments.tasks.predictors.predictor import conv_head


class TinyNet(Architecture):
    """One valid convolution with dropout; may double the resolution."""

    def __init__(self, input_shape: tuple[int, ...] = (20, 20), channels: int = 1, upsample: int = 1) -> None:
        super().__init__()
        self._input_shape = Coordinate(input_shape)
        self._channels = channels
        self.upsample = upsample
        conv = torch.nn.Conv2d if len(input_shape) == 2 else torch.nn.Conv3d
        self.conv = conv(channels, 4, kernel_size=3)

    @property
    def input_shape(self) -> Coordinate:
        return self._input_shape

    @property
    def num_in_channels(self) -> int:
        return self._channels

    @property
    def num_out_channels(self) -> int:
        return 4

    def scale(self, input_voxel_size: Coordinate) -> Coordinate:
        return input_voxel_size / self.upsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.dropout(self.conv(x).relu(), 0.2, self.training)
        return torch.nn.functional.interpolate(x, scale_factor=self.upsample) if self.upsample > 1 else x


class ConvNet(TinyNet):
    """Two convolutions, and nothing random."""

    def __init__(self) -> None:
        super().__init__()
        self.second = torch.nn.Conv2d(4, 4, kernel_size=3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.conv(x).relu())


class PointwisePredictor(DummyPredictor):
    """A dummy whose head keeps the size of what the network gives."""

    def create_model(self, architecture: Architecture) -> Model:
        return Model(architecture, conv_head(architecture, self.embedding_dims))


def dummy_task() -> Task:
    task = DummyTask(DummyTaskConfig("task", 2, 0.5))
    task.predictor = PointwisePredictor(2)
    return task


def affinities() -> Task:
    return AffinitiesTask(AffinitiesTaskConfig("task", [Coordinate(1, 0), Coordinate(0, 1), Coordinate(0, -3)]))


def classes() -> Task:
    """Return a task whose weights do not depend on what was seen before."""
    return OneHotTask(OneHotTaskConfig("task", [str(label) for label in range(9)]))


class Plain(Architecture):
    """A network of an own class, about which nothing is said but its shape."""

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.config = config
        self.conv = torch.nn.Conv2d(1, 3, config.kernel)

    @property
    def input_shape(self) -> Coordinate:
        return Coordinate(self.config.shape)

    @property
    def num_in_channels(self) -> int:
        return 1

    @property
    def num_out_channels(self) -> int:
        return 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv(x)
        return out


@attrs.define
class PlainConfig(ArchitectureConfig):
    """Its config."""

    architecture_type = Plain

    kernel: tuple[int, int] = (3, 3)
    shape: tuple[int, int] = (16, 16)
