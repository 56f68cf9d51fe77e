"""The network that is trained: a body and a prediction head."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.architectures.architecture import Architecture, check_dims, compute_shape, enlargement
from dacapo.experiments.architectures.measure import measure_growth, measure_reach
from dacapo.experiments.architectures.placement import Reach, split_loss


class Model(torch.nn.Module):
    """Chain an architecture and a prediction head.

    Predictors create models. The tensors of a batch have the axes batch, channel, space; the shapes below are in
    voxels, without batch and channels.

    Attributes:
        architecture: The network body.
        prediction_head: Turns feature maps into predictions.
        chain: The architecture followed by the head. The same parameters also appear under the two names above.
        num_in_channels: Number of channels of the input.
        num_out_channels: Number of channels of the prediction.
        input_shape: Spatial shape of the input in training.
        eval_input_shape: Spatial shape of the input in prediction, at least as large.
        output_shape: Spatial shape of the prediction for an input of ``input_shape``.
        eval_activation: Applied to predictions in eval mode only.
    """

    num_out_channels: int
    num_in_channels: int
    input_shape: Coordinate
    eval_input_shape: Coordinate
    output_shape: Coordinate

    def __init__(
        self,
        architecture: Architecture,
        prediction_head: torch.nn.Module,
        eval_activation: torch.nn.Module | None = None,
    ) -> None:
        """Join the parts and determine the shape of the prediction.

        Args:
            architecture: The network body.
            prediction_head: Takes ``num_out_channels`` of the body as input channels.
            eval_activation: Applied to predictions in eval mode, such as a sigmoid if the loss expects predictions
                without it.
        """
        super().__init__()
        self.architecture = architecture
        self.prediction_head = prediction_head
        self.chain = torch.nn.Sequential(architecture, prediction_head)
        self.eval_activation = eval_activation
        self._shapes: dict[Coordinate, tuple[int, Coordinate]] = {}
        self.num_in_channels = architecture.num_in_channels
        self.input_shape = architecture.input_shape
        self.eval_input_shape = self.input_shape + architecture.eval_shape_increase
        self.num_out_channels, self.output_shape = self.compute_output_shape(self.input_shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the predictions for a batch, activated in eval mode."""
        result: torch.Tensor = self.chain(x)
        if not self.training and self.eval_activation is not None:
            result = self.eval_activation(result)
        return result

    def compute_output_shape(self, input_shape: Coordinate) -> tuple[int, Coordinate]:
        """Return number of channels and spatial shape of the prediction for an input of the given spatial shape.

        Traces shapes without computing, leaves the mode and the random state of the model alone, and caches results.

        Raises:
            AssertionError: If ``input_shape`` is not a `Coordinate`.
            ConfigError: If its number of axes differs from that of the architecture, or the architecture cannot use it.
        """
        _require_coordinate("input_shape", input_shape)
        if input_shape.dims != self.architecture.dims:
            raise ConfigError(
                f"input_shape {tuple(input_shape)} has {input_shape.dims} axes, but the architecture has "
                f"{self.architecture.dims} spatial axes; leave out batch and channels"
            )
        if input_shape not in self._shapes:
            self._shapes[input_shape] = compute_shape(self.chain, self.num_in_channels, input_shape)
        return self._shapes[input_shape]

    def scale(self, voxel_size: Coordinate) -> Coordinate:
        """Return the voxel size of the prediction, given that of the input, both in world units.

        Raises:
            AssertionError: If ``voxel_size`` is not a `Coordinate`.
            ConfigError: If its number of axes differs from that of the architecture.
        """
        _require_coordinate("voxel_size", voxel_size)
        check_dims("voxel size", voxel_size, self.architecture.dims)
        return self.architecture.scale(voxel_size)

    def context(self, voxel_size: Coordinate) -> tuple[Coordinate, Coordinate]:
        """Return the context that the network reads before and after its prediction, in world units.

        Both are whole voxels of the prediction. If their sum is an odd number of voxels, the extra one is after it.

        Args:
            voxel_size: Voxel size of the input in world units.

        Raises:
            AssertionError: If ``voxel_size`` is not a `Coordinate`.
            ConfigError: If the prediction is larger than the input, or the number of axes differs.
        """
        sizes = self.scale(voxel_size)
        lost = self.input_shape * voxel_size - self.output_shape * sizes
        if min(lost) < 0:
            raise ConfigError(
                f"the network predicts {tuple(self.output_shape)} voxels of {tuple(sizes)} from an input of "
                f"{tuple(self.input_shape)} voxels of {tuple(voxel_size)}, which covers less; reduce the padding, "
                "or let scale() of the architecture return the finer voxel size of the prediction"
            )
        pairs = zip(lost, sizes, strict=True)
        before = Coordinate(split_loss(extent // size)[0] * size for extent, size in pairs)
        return before, lost - before

    @property
    def receptive_halo(self) -> Coordinate:
        """Input voxels needed on each side of a region of the prediction, whatever its alignment."""
        body, head = self.architecture.receptive_halo, self._head_reach
        # If body and head both lose an odd number of voxels, rounding twice shifts the prediction by a voxel.
        voxels = [reach.halo + 1 if reach.halo else 0 for reach in head]
        ratios = enlargement(self.architecture)
        return body + Coordinate(math.ceil(number / ratio) for number, ratio in zip(voxels, ratios, strict=True))

    @property
    def padded_axes(self) -> tuple[bool, ...]:
        """For each axis, whether predictions near the ends of an input depend on where the input ends."""
        body, head = self.architecture.padded_axes, self._head_reach
        return tuple(padded or reach.is_padded for padded, reach in zip(body, head, strict=True))

    @cached_property
    def _head_reach(self) -> list[Reach]:
        channels, shape = compute_shape(self.architecture, self.num_in_channels, self.input_shape)
        growths = [measure_growth(self.prediction_head, channels, shape, axis) for axis in range(shape.dims)]
        return measure_reach(self.prediction_head, channels, shape, growths)


def _require_coordinate(name: str, value: object) -> None:
    # Not an assert statement, which "python -O" removes.
    if not isinstance(value, Coordinate):
        raise AssertionError(f"{name} must be a funlib.geometry.Coordinate, got {type(value).__name__}: {value!r}")
