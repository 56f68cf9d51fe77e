"""The network as other programs run it: raw data in, a prediction of the same region out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.architectures import ArchitectureConfig
from dacapo.experiments.architectures.architecture import enlargement
from dacapo.experiments.model import Model
from dacapo.experiments.tasks import TaskConfig
from dacapo.store.converter import from_plain


class ExportedNetwork(torch.nn.Module):
    """A model in eval mode that predicts all of its input.

    Input is mirrored at its ends by the voxels that the model loses, as a prediction in blocks does at the ends of a
    volume. The activation is included. Tensors have the axes batch, channel, space.

    Attributes:
        model: The model.
        pads: Voxels before and after the input, the last axis first, as `torch.nn.functional.pad` takes them.
    """

    def __init__(self, model: Model) -> None:
        """Wrap a model, and put it into eval mode.

        Raises:
            ConfigError: If its predictions begin inside a voxel of the input.
        """
        super().__init__()
        self.model = model
        before, after = lost_voxels(model)
        self.pads = [int(side) for pair in reversed(list(zip(before, after, strict=True))) for side in pair]
        self.eval()

    def train(self, mode: bool = True) -> ExportedNetwork:
        """Stay in eval mode, in which the model is exported."""
        return super().train(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the prediction for a batch of normalized raw data."""
        if any(self.pads):
            x = torch.nn.functional.pad(x, self.pads, mode="reflect")
        prediction: torch.Tensor = self.model(x)
        return prediction


def exported_network(task_config: Mapping[str, Any], architecture_config: Mapping[str, Any]) -> ExportedNetwork:
    """Return the network of an exported package with random weights, ready for those of the package.

    Args:
        task_config: The task, in plain values.
        architecture_config: The architecture, in plain values.

    Raises:
        ConfigError: If the values describe no task or no architecture.
    """
    task = from_plain(dict(task_config), TaskConfig, source="task_config")
    architecture = from_plain(dict(architecture_config), ArchitectureConfig, source="architecture_config")
    network = architecture.architecture_type(architecture)
    return ExportedNetwork(task.task_type(task).create_model(network))


@attrs.frozen
class Sizes:
    """The inputs that an exported network takes, per spatial axis, in voxels.

    Attributes:
        least: The smallest input.
        step: Steps from one size to the next; 0 where there is only one.
        block: A good size of input.
        halo: Voxels at each end of a prediction that depend on data beyond the input.
        ratio: Voxels of the prediction per voxel of the input.
    """

    least: Coordinate
    step: Coordinate
    block: Coordinate
    halo: Coordinate
    ratio: Coordinate


def sizes_of(model: Model) -> Sizes:
    """Return the inputs that the exported network of a model takes.

    Raises:
        ConfigError: If the voxels of its prediction are larger than those of the input.
    """
    ratios = enlargement(model.architecture)
    if any(ratio.denominator != 1 for ratio in ratios):
        raise ConfigError("the network predicts voxels that are larger than those of its input; it cannot be exported")
    before, after = lost_voxels(model)
    ratio = Coordinate(int(r) for r in ratios)
    context = zip(before, after, model.receptive_halo, model.padded_axes, strict=True)
    halo = Coordinate(max(b, a, h if padded else 0) for b, a, h, padded in context)
    smallest, step = model.input_shape - before - after, model.architecture.stride
    if model.architecture.has_fixed_shape:
        return Sizes(smallest, Coordinate((0,) * smallest.dims), smallest, halo * ratio, ratio)
    # A block has to be larger than its halo on both sides, and than what is mirrored.
    least = Coordinate(s + max(0, -(-(2 * h + 1 - s) // d)) * d for s, h, d in zip(smallest, halo, step, strict=True))
    usual = model.eval_input_shape - before - after
    block = Coordinate(a + max(0, u + 2 * h - a) // d * d for a, u, h, d in zip(least, usual, halo, step, strict=True))
    return Sizes(least, step, block, halo * ratio, ratio)


def lost_voxels(model: Model) -> tuple[Coordinate, Coordinate]:
    """Return how many voxels of the input the model reads before and after its prediction.

    Raises:
        ConfigError: If these are no whole voxels.
    """
    numerators = [ratio.numerator for ratio in enlargement(model.architecture)]
    voxel_size = Coordinate(numerators)
    before, after = model.context(voxel_size)
    if any(before % voxel_size) or any(after % voxel_size):
        raise ConfigError(
            "the predictions of the network begin inside a voxel of its input, so it cannot be exported; use an "
            "input_shape that makes it lose an even number of voxels"
        )
    return before / voxel_size, after / voxel_size
